"""The page of an evaluation, and of the run that it belongs to: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data import Split
from xfer.data.texts import last_places
from xfer.evaluation.evaluation import Evaluation
from xfer.evaluation.tasks import TasksEvaluation
from xfer.features.cache import FeatureCache
from xfer.models.base_model import BaseModel
from xfer.report import curves
from xfer.report.curves import Series
from xfer.report.feature_map import FeatureMap, feature_map, features_of, sample
from xfer.report.overlays import MOST, overlays
from xfer.report.sections import Section, classes_section, number, title
from xfer.report.svg import element
from xfer.report.task_sections import task_sections
from xfer.report.template import fill
from xfer.report.thumbnails import data_uri, small
from xfer.specs.settings import RunSettings
from xfer.training.range_test import RANGE_TEST
from xfer.workflows.comparison.units import value_text
from xfer.workflows.ensemble import Ensemble

PAGE = "evaluation.html"
_MOST_SKIPPED = 100


@dataclass(frozen=True)
class Training:
    """What the page of a run has in addition.

    Args:
        metrics: what `metrics.json` says.
    """

    metrics: Mapping[str, Any]

    @property
    def charts(self) -> list[tuple[str, str]]:
        """Loss and the monitored metric by epoch, and the range test of learning rates, (caption, svg)."""
        rows = self.metrics["epochs"]
        names = dict.fromkeys(name for row in rows for name in row)
        watched = self.metrics["config"].get("monitor", "")
        other = next(
            (n for n in (watched, "val_accuracy", *names) if n in names and n[:4] == "val_" and n != "val_loss"), ""
        )
        found = []
        for key, columns in (("loss", ("loss", "val_loss")), ("metric", (other,))):
            series = [Series.of(rows, name, "train" if name == "loss" else "val", i) for i, name in enumerate(columns)]
            series = [each for each in series if each.points]
            if series:
                name = "Loss" if key == "loss" else title(other.removeprefix("val_"))
                caption = f"{name}: {', '.join(f'{each.label} ends at {each.last}' for each in series)}"
                found.append(
                    (caption, element(curves.learning(series, curves.fine_tuning(rows)), f"learning-{key}", caption))
                )
        if (tested := self.metrics.get(RANGE_TEST)) is not None:
            caption = f"Range test of learning rates: {tested['lr']:.3g} was taken"
            found.append((caption, element(curves.range_test(tested), "range-test", caption)))
        return found

    @property
    def test(self) -> list[tuple[str, str]]:
        """Metrics on the test split, (title, value)."""
        return [(title(name), number(value)) for name, value in self.metrics.get("test", {}).items()]

    @property
    def settings(self) -> tuple[list[tuple[str, list[str]]], list[tuple[str, list[str]]]]:
        """The configuration: options that have another value than the default, and the others."""
        usual = RunSettings(data="").document()
        rows = [(key, value, value != usual.get(key)) for key, value in self.metrics["config"].items()]
        chosen, others = ([(k, [value_text(v)]) for k, v, changed in rows if changed is kind] for kind in (True, False))
        return chosen, others


@dataclass
class _Seen:
    """What is shown of images: pictures by row of the evaluation, Grad-CAM by task and row, and what is left out."""

    pictures: dict[int, str] = field(default_factory=dict)
    overlays: dict[tuple[str, int], str] = field(default_factory=dict)
    map: FeatureMap | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def explained(self) -> set[str]:
        """Names of the tasks that have Grad-CAM."""
        return {task for task, _ in self.overlays}


def render(
    evaluation: Evaluation | TasksEvaluation,
    model: BaseModel | Ensemble,
    split: Split,
    *,
    data: str,
    backend: str,
    which: str = "",
    training: Training | None = None,
    batch_size: int = 32,
    cache: bool | str | Path | FeatureCache = True,
) -> bytes:
    """The page as UTF-8.

    Args:
        evaluation: of the model on images of the split.
        model: that was evaluated. Of an ensemble the page has no map of features and no Grad-CAM.
        split: whose images are shown. At most some hundred of them are decoded again, one at a time.
        data: name of the data.
        backend: its name, or the names.
        which: which images were evaluated, in words.
        training: of the run, where the page is that of a run.
        batch_size: images a forward pass.
        cache: of the outputs of frozen blocks, as in `evaluate`.
    """
    sections = task_sections(evaluation) if isinstance(evaluation, TasksEvaluation) else [classes_section(evaluation)]
    seen = _seen(evaluation, model, split, sections, batch_size, cache)
    return fill(
        "evaluation.html",
        model=model.name,
        backend=backend,
        data=data,
        which=which,
        images=len(evaluation.names),
        sections=sections,
        seen=seen,
        skipped=evaluation.skipped[:_MOST_SKIPPED],
        more_skipped=max(len(evaluation.skipped) - _MOST_SKIPPED, 0),
        training=training,
        script=files("xfer.report").joinpath("templates", "feature_map.js").read_text("utf-8"),
    )


def _seen(
    evaluation: Evaluation | TasksEvaluation,
    model: BaseModel | Ensemble,
    split: Split,
    sections: Sequence[Section],
    batch_size: int,
    cache: bool | str | Path | FeatureCache,
) -> _Seen:
    seen, places = _Seen(), last_places(evaluation.names, split.names)
    if split.after is None:
        _add_pictures(seen, model, split, sections, places)
    else:
        seen.notes.append(f"The data are outputs of {split.after!r}, not images, so no picture of an image is shown.")
    if isinstance(model, Ensemble):
        seen.notes.append(
            "There is no map of the features: each member of an ensemble has its own. Evaluate a member by itself."
        )
        return seen
    rows = np.flatnonzero(places >= 0)
    rows = rows[sample(len(rows))]
    found, at = features_of(model, split, places[rows], batch_size=batch_size, cache=cache)
    row_of = dict(zip(places[rows].tolist(), rows.tolist(), strict=True))
    mapped = np.array([row_of[place] for place in at.tolist()], np.int64)
    if len(found):
        seen.map = _map(evaluation, found, mapped, split, at)
    return seen


def _add_pictures(
    seen: _Seen, model: BaseModel | Ensemble, split: Split, sections: Sequence[Section], of_rows: np.ndarray
) -> None:
    of_section = [row for section in sections for row in (*section.shown, *section.targets)]
    places = {row: int(of_rows[row]) for row in of_section if of_rows[row] >= 0}
    rows = [row for section in sections for row in section.shown if row in places]
    images = small(split, [places[row] for row in rows])
    seen.pictures = {row: data_uri(images[places[row]]) for row in rows if places[row] in images}
    if isinstance(model, Ensemble):
        seen.notes.append("There is no Grad-CAM of an ensemble: its members would each have one. Explain a member.")
        return
    each = -(-MOST // len(sections))
    for section in sections:
        targets = {places[row]: t for row, t in section.targets.items() if row in seen.pictures}
        found, reason = overlays(model, split, dict(list(targets.items())[:each]))
        seen.overlays |= {
            (section.name, row): found[places[row]] for row in section.targets if places.get(row) in found
        }
        if reason is not None:
            seen.notes.append(f"There is no Grad-CAM{f' of {section.name}' if section.name else ''}: {reason}.")


def _map(
    evaluation: Evaluation | TasksEvaluation, features: np.ndarray, rows: np.ndarray, split: Split, places: np.ndarray
) -> FeatureMap:
    classes: tuple[str, ...] = ()
    pairs = np.full((len(rows), 2), -1)
    texts = [""] * len(rows)
    if isinstance(evaluation, TasksEvaluation):
        first = next((task for task in evaluation.tasks if task.kind == "single-label"), None)
        if first is not None:
            classes, target = first.classes, evaluation.targets[first.name][rows]
            pairs[:, 0] = np.where(np.isnan(target), -1, np.nan_to_num(target, nan=-1)).astype(int)
            outputs = evaluation.outputs[first.name][rows]
            pairs[:, 1] = outputs.argmax(axis=1)
            texts = _texts(classes, pairs, outputs)
    else:
        classes = evaluation.classes
        pairs = np.stack([evaluation.labels[rows], evaluation.predicted[rows]], axis=1)
        texts = _texts(classes, pairs, evaluation.probabilities[rows])
    answers = [{"name": evaluation.names[row], "text": text} for row, text in zip(rows.tolist(), texts, strict=True)]
    shown = split if split.after is None else None
    return feature_map(features, pairs, answers, classes, shown, places, len(evaluation.names))


def _texts(classes: Sequence[str], pairs: np.ndarray, outputs: np.ndarray) -> list[str]:
    """What is said of each point: its true class, and the predicted one with its probability."""
    found = []
    for (true, predicted), row in zip(pairs.tolist(), outputs, strict=True):
        said = f"predicted {_short(classes[predicted])} {row[predicted]:.3f}"
        found.append(said if true < 0 else f"true {_short(classes[true])}, {said}")
    return found


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"
