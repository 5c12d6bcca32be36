"""What a page says of one task: figures, charts, tables, and which images it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xfer.errors import UsageError
from xfer.evaluation.evaluation import Evaluation
from xfer.evaluation.metrics import METRICS
from xfer.evaluation.one_vs_rest import Curve, precision_recall_curves, roc_curves
from xfer.evaluation.significance import Interval
from xfer.report import charts, curves
from xfer.report.svg import element
from xfer.report.worst import Pair, confused_pairs, mistakes

# Those with an interval.
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "top5_accuracy", "mcc", "cohen_kappa", "loss", "ece")
RANKINGS = ("roc_auc", "average_precision")  # with one where images times classes are not too many
TITLES = {
    "top5_accuracy": "Top-5 accuracy",
    "loss": "Log loss",
    "ece": "Calibration error (ECE)",
    "mcc": "Matthews correlation (MCC)",
    "cohen_kappa": "Cohen's kappa",
    "roc_auc": "ROC-AUC (mean of classes)",
    "average_precision": "Average precision (mean of classes)",
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
    "r2": "R²",
}
NONE = "\N{EN DASH}"
_MOST_ROWS = 200
LEVEL = 0.95
_MANY_SCORES = 200_000
_MANY_CLASSES = 100  # from which on a resample of their counts takes long
_MOST_THRESHOLDS = 12


@dataclass(frozen=True)
class Item:
    """An image of a gallery.

    Args:
        row: in the evaluation.
        name: of the image.
        lines: (term, text, number, whether it is the truth) of each.
        target: the output that Grad-CAM explains, as `model.explain` takes it.
    """

    row: int
    name: str
    lines: tuple[tuple[str, str, str, bool], ...]
    target: Any


@dataclass(frozen=True)
class Gallery:
    """Images under a title."""

    title: str
    entries: tuple[Item, ...]


@dataclass(frozen=True)
class Section:
    """One task.

    Args:
        kind: "single-label", "multi-label" or "regression".
        name: of the task; empty where there is one.
        lead: the finding, in a sentence.
        metrics: (title, value, interval) of those with an interval where one is defined.
        others: (title, value) of the rest.
        interval: what the intervals are.
        charts: (caption, svg).
        matrix: the confusion matrix as svg, if it can be read; and whether it is wide.
        pairs: (true class, predicted class, count, rows) of the confusions.
        head, rows: of the table of classes, labels or numbers.
        more: rows of the table that are left out.
        galleries: the worst mistakes.
        notes: what the reader must know.
    """

    kind: str
    name: str
    lead: str
    metrics: list[tuple[str, str, str]]
    others: list[tuple[str, str]]
    interval: str
    charts: list[tuple[str, str]]
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    galleries: list[Gallery]
    matrix: str | None = None
    wide: bool = False
    pairs: list[tuple[str, str, int, tuple[int, ...]]] = field(default_factory=list)
    more: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def shown(self) -> list[int]:
        """Rows of the evaluation whose pictures the section needs."""
        return [*self.targets, *(row for pair in self.pairs for row in pair[3])]

    @property
    def targets(self) -> dict[int, Any]:
        """Rows of the worst mistakes, and the output of each that Grad-CAM explains."""
        return {item.row: item.target for gallery in self.galleries for item in gallery.entries}


def classes_section(evaluation: Evaluation, name: str = "", rows: np.ndarray | None = None) -> Section:
    """Of a task whose images have one class each.

    Args:
        evaluation: of the task.
        name: of the task, where there are several.
        rows: int64 (N,), where its images are among all of the page.
    """
    found, place = evaluation.predictions, np.arange(len(evaluation.labels)) if rows is None else rows
    classes, counts = evaluation.classes, evaluation.confusion
    pairs = confused_pairs(found.labels, found.predicted, found.confidence)
    resamples = 1000 if len(classes) <= _MANY_CLASSES else 100
    metrics, others = figures(
        evaluation.metrics,
        [n for n in METRICS if n != "top5_accuracy" or n in evaluation.metrics],
        (*SHOWN, *(RANKINGS if evaluation.probabilities.size <= _MANY_SCORES else ())),
        lambda metric: evaluation.interval(metric, level=LEVEL, resamples=resamples),
    )
    table = (
        sorted(evaluation.per_class(), key=lambda each: -each.images)
        if len(classes) > _MOST_ROWS
        else evaluation.per_class()
    )
    right = int(np.trace(counts))
    few = len(classes) <= charts.MOST_CLASSES
    matrix = f"Confusion matrix: {right} of {len(found.labels)} images on the diagonal"
    return Section(
        kind="single-label",
        name=name,
        lead=_finding(evaluation, pairs[0] if pairs else None),
        metrics=metrics,
        others=others,
        interval=intervals_text(resamples),
        charts=_class_charts(evaluation, name),
        matrix=element(charts.confusion(counts, classes), f"confusion{name}", matrix) if few else None,
        wide=len(classes) > 14,
        pairs=[(classes[p.true], classes[p.predicted], p.count, tuple(int(place[r]) for r in p.rows)) for p in pairs],
        head=("Class", "images", "predicted", "precision", "recall", "F1", "ROC-AUC", "average precision"),
        rows=[
            (
                each.name,
                f"{each.images:,}",
                f"{each.predicted:,}",
                *map(number, (each.precision, each.recall, each.f1)),
                number(each.roc_auc),
                number(each.average_precision),
            )
            for each in table[:_MOST_ROWS]
        ],
        more=max(len(classes) - _MOST_ROWS, 0),
        galleries=_class_galleries(evaluation, place, name),
        notes=_decision(evaluation),
    )


def figures(
    values: dict[str, float], names: Iterable[str], with_interval: Sequence[str], interval: Callable[[str], Interval]
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Metrics with their intervals, and the rest."""
    names, metrics = list(names), []
    for name in with_interval:
        if name not in names:
            continue
        try:
            found = interval(name)
            shown = f"{number(found.low)} to {number(found.high)}"
        except UsageError:
            shown = NONE
        metrics.append((title(name), number(values.get(name), "undefined"), shown))
    return metrics, [(title(n), number(values.get(n), "undefined")) for n in names if n not in with_interval]


def title(name: str) -> str:
    """A metric's name for people."""
    return TITLES.get(name) or name.replace("_", " ").capitalize().replace(" f1", " F1")


def number(value: float | None, missing: str = NONE) -> str:
    """A share or an error, with four decimals; with fewer where it is large."""
    if value is None or not np.isfinite(value):
        return missing
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}" if abs(value) < 10_000 else f"{value:.5g}"


def ranking_charts(scores: np.ndarray, truth: np.ndarray, names: Sequence[str], key: str) -> list[tuple[str, str]]:
    """ROC and precision over recall of classes or labels, (caption, svg), empty where none is defined."""
    found = []
    for draw, of, caption, short, area in (
        (curves.roc, roc_curves, "ROC", "roc", "area"),
        (curves.precision_recall, precision_recall_curves, "Precision over recall", "pr", "average precision"),
    ):
        each = of(scores, truth, names)
        if each:
            spoken = "; ".join(f"{curve.name} {curve.area:.3f}" for curve in curves.chosen(each))
            found.append(
                (_caption(caption, area, each), element(draw(each), short + key, f"{caption}: {area} {spoken}"))
            )
    return found


def intervals_text(resamples: int) -> str:
    """What the intervals are."""
    return f"{LEVEL:.0%} intervals: percentile bootstrap over images, {resamples} resamples".replace("%", " %")


def _caption(caption: str, area: str, each: Sequence[Curve]) -> str:
    """The finding: the mean area, and which curves are drawn where these are not all."""
    mean = each[0].area if len(each) > 2 else float(np.mean([curve.area for curve in each]))
    said = f"{caption}: {f'mean {area}' if len(each) > 1 else area} {mean:.3f}"
    lowest = f"; named are the {curves.MOST_NAMED - 1} lowest of {len(each) - 1}"
    return said + (lowest if len(each) > curves.MOST_NAMED else "")


def _class_charts(evaluation: Evaluation, key: str) -> list[tuple[str, str]]:
    found, reliability = evaluation.predictions, evaluation.reliability()
    spoken = f"Reliability diagram: calibration error {reliability.error:.4f}"
    mean = float(found.confidence.mean())
    caption = f"Reliability: mean confidence {mean:.3f}, accuracy {found.correct.mean():.3f}"
    chart = element(charts.reliability(reliability), f"reliability{key}", spoken)
    return [(caption, chart), *ranking_charts(found.scores, found.labels, evaluation.classes, key)]


def _class_galleries(evaluation: Evaluation, place: np.ndarray, task: str) -> list[Gallery]:
    found = evaluation.predictions
    losses, confident = mistakes(~found.correct, found.losses, found.confidence)

    def item(row: int) -> Item:
        true, predicted = int(found.labels[row]), int(found.predicted[row])
        lines = (
            ("true", evaluation.classes[true], number(float(evaluation.probabilities[row, true])), True),
            ("predicted", evaluation.classes[predicted], number(float(found.confidence[row])), False),
            ("loss", "", number(float(found.losses[row])), False),
        )
        target = (task, evaluation.classes[predicted]) if task else predicted
        return Item(int(place[row]), evaluation.names[row], lines, target)

    both = "Highest loss" if confident else "Highest loss and highest confidence"
    titles = ((both, losses), ("Highest confidence", confident))
    return [Gallery(title, tuple(map(item, rows))) for title, rows in titles if rows]


def _finding(evaluation: Evaluation, pair: Pair | None) -> str:
    right, images = int(evaluation.predictions.correct.sum()), len(evaluation.labels)
    said = f"{right:,} of {images:,} images ({100 * right / images:.1f} %) have the right class."
    if pair is None:
        return said
    true, predicted = evaluation.classes[pair.true], evaluation.classes[pair.predicted]
    count = f"{pair.count:,} images" if pair.count > 1 else "1 image"
    return f"{said} The most frequent mistake: {count} of “{true}” predicted as “{predicted}”."


def _decision(evaluation: Evaluation) -> list[str]:
    decision, notes = evaluation.decision, []
    if decision.temperature != 1:
        notes.append(f"Temperature {decision.temperature:.4g} is in effect: logits are divided by it.")
    if decision.thresholds:
        pairs = list(zip(evaluation.classes, decision.thresholds, strict=True))
        listed = ", ".join(f"{name} {value:.4g}" for name, value in pairs[:_MOST_THRESHOLDS])
        more = f" and {len(pairs) - _MOST_THRESHOLDS} more" if len(pairs) > _MOST_THRESHOLDS else ""
        notes.append(
            f"Decision thresholds are in effect: {listed}{more}. The class with the highest ratio of probability to "
            "threshold is predicted, which need not be the most probable one."
        )
    if absent := len(evaluation.classes) - len(np.unique(evaluation.labels)):
        notes.append(f"{absent} of {len(evaluation.classes)} classes have no image here.")
    return notes
