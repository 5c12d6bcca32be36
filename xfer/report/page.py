"""The comparison report: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from xfer.evaluation.metrics import confusion_matrix
from xfer.report import charts, curves
from xfer.report.curves import Series
from xfer.report.svg import element
from xfer.report.template import fill
from xfer.report.thumbnails import MOST
from xfer.workflows.comparison.comparison import Comparison
from xfer.workflows.comparison.runs import Run
from xfer.workflows.comparison.units import difference_text, phases, value_text

METRICS = {"accuracy": "Accuracy", "top5_accuracy": "Top-5 accuracy", "macro_f1": "Macro F1", "loss": "Loss"}
MOST_PAIRS = 30


def render(comparison: Comparison, runs: Sequence[Run], pictures: Mapping[str, str]) -> bytes:
    """The page as UTF-8.

    Args:
        comparison: of the runs.
        runs: the same, with their predictions.
        pictures: data URIs of the images to show, by name.
    """
    readable = len(runs[0].classes) <= charts.MOST_CLASSES
    return fill(
        "compare.html",
        comparison=comparison,
        runs=comparison.runs,
        first=runs[0].metrics,
        source=PurePath(runs[0].metrics["data"]["source"]).name,
        metrics=_metric_rows(comparison.runs),
        epochs=_epoch_rows(comparison.runs),
        phases=phases(list(comparison.runs.values())),
        curves=[
            _learning(runs, {"loss": "train", "val_loss": "val"}, "Loss", "loss"),
            _learning(runs, {"val_accuracy": "val"}, "Validation accuracy", "accuracy"),
        ],
        matrices=[_matrix(run, i) for i, run in enumerate(runs)] if readable else [],
        pairs=[] if readable else confused_pairs(runs)[:MOST_PAIRS],
        disagreements=comparison.disagreements[:MOST],
        pictures=pictures,
        settings=_settings(runs),
    )


def _learning(runs: Sequence[Run], columns: Mapping[str, str], title: str, name: str) -> str:
    """Columns of the histories, all backends on the same axes."""
    series = [
        Series.of(run.metrics["epochs"], column, f"{run.backend}, {part}", place)
        for place, run in enumerate(runs)
        for column, part in columns.items()
    ]
    ends = "; ".join(
        f"{run.backend} ends at {each.last}"
        for run, each in zip(runs, series[len(columns) - 1 :: len(columns)], strict=True)
    )
    draw = curves.learning(series, curves.fine_tuning(runs[0].metrics["epochs"]))
    return element(draw, name, f"{title} by epoch: {ends}")


def _matrix(run: Run, index: int) -> str:
    counts = confusion_matrix(run.labels, run.predicted, len(run.classes))
    right = f"{int(np.trace(counts))} of {len(run.labels)} images on the diagonal"
    return element(
        charts.confusion(counts, run.classes, index),
        f"confusion-{index}",
        f"Confusion matrix of {run.backend}: {right}",
    )


def confused_pairs(runs: Sequence[Run]) -> list[tuple[str, str, list[int]]]:
    """(true class, predicted class, images by backend) of every confusion, the most frequent first."""
    counts = np.stack([confusion_matrix(run.labels, run.predicted, len(run.classes)) for run in runs])
    worst = counts.max(axis=0)
    np.fill_diagonal(worst, 0)
    places = sorted(np.argwhere(worst).tolist(), key=lambda place: -worst[tuple(place)])
    classes = runs[0].classes
    return [(classes[true], classes[guess], counts[:, true, guess].tolist()) for true, guess in places]


def _metric_rows(runs: Mapping[str, dict[str, Any]]) -> list[tuple[str, list[str], str]]:
    rows = []
    for key, title in METRICS.items():
        values = [run["val"][key] for run in runs.values() if key in run["val"]]
        if len(values) < len(runs):  # undefined, such as the top-5 accuracy of five classes
            continue
        rows.append((title, [f"{value:.5f}" for value in values], difference_text(max(values) - min(values))))
    return rows


def _epoch_rows(runs: Mapping[str, dict[str, Any]]) -> list[tuple[int, list[dict[str, Any]]]]:
    """(epoch, one row a backend), an empty row where a backend had stopped."""
    most = max((run["epochs"] for run in runs.values()), key=len)
    return [
        (row["epoch"], [run["epochs"][i] if i < len(run["epochs"]) else {} for run in runs.values()])
        for i, row in enumerate(most)
    ]


def _settings(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Configuration keys, with one value where the backends have the same, else one each."""
    configs = [run.metrics["config"] for run in runs]
    rows = []
    for key in configs[0]:
        values = [value_text(config.get(key)) for config in configs]
        rows.append((key, values[:1] if len(set(values)) == 1 else values))
    return rows
