"""The report's charts: learning curves and confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.evaluation.metrics import confusion_matrix
from xfer.report import svg
from xfer.workflows.comparison.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 50
_LABEL = 18  # characters of a class name that an axis has room for
_CHARACTER = 0.085  # inches

# Opacity of a cell: one image is seen, and the count stays readable on a full row, by day and by night.
_FAINTEST, _STRONGEST = 0.08, 0.55

# The first series is drawn wide and hollow, the next ones thin on top: where runs coincide, all remain visible.
_WIDTHS = (3.2, 1.4, 1.0)
_MARKERS = ("o", "s", "D", "^", "v", "P")


def loss_curves(runs: Sequence[Run]) -> str:
    """Training (dashed) and validation loss by epoch, all backends on the same axes."""
    return _curves(runs, {"loss": "train", "val_loss": "val"}, "Loss", "loss")


def accuracy_curves(runs: Sequence[Run]) -> str:
    """Validation accuracy by epoch, all backends on the same axes."""
    return _curves(runs, {"val_accuracy": "val"}, "Validation accuracy", "accuracy")


def confusion(run: Run, index: int) -> str:
    """One backend's confusion matrix, with counts; a cell is as strong as its share of the row.

    Args:
        run: with at most `MOST_CLASSES` classes.
        index: place of the backend, for its colour.
    """
    counts = confusion_matrix(run.labels, run.predicted, len(run.classes))
    with svg.drawing():
        side = float(np.clip(0.42 * len(run.classes), 3.0, 11.5))
        figure, axes = _figure(side, side)
        _cells(axes, counts, svg.series(index), size=float(np.clip(side / len(run.classes) * 26, 5.5, 12)))
        names = [short(name) for name in run.classes]
        upright = max(map(len, names)) * _CHARACTER > side / len(names)
        axes.set_xticks(range(len(names)), names, rotation=90 if upright else 0)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        right = int(np.trace(counts))
        description = f"Confusion matrix of {run.backend}: {right} of {len(run.labels)} images on the diagonal"
        return svg.inline(figure, f"confusion-{index}", description)


def _curves(runs: Sequence[Run], columns: dict[str, str], title: str, name: str) -> str:
    from matplotlib.ticker import MaxNLocator

    with svg.drawing():
        figure, axes = _figure(5.3, 3.2)
        for place, run in enumerate(runs):
            for column, part in columns.items():
                _curve(axes, run.metrics["epochs"], column, place, f"{run.backend}, {part}")
        _mark_fine_tuning(axes, runs[0].metrics["epochs"])
        axes.grid(axis="y")
        axes.margins(x=0.06, y=0.08)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(runs), 3), handlelength=3.2, fontsize=8.5
        )
        ends = "; ".join(f"{run.backend} ends at {_last(run, list(columns)[-1])}" for run in runs)
        return svg.inline(figure, name, f"{title} by epoch: {ends}")


def _curve(axes: Axes, rows: Sequence[dict[str, Any]], column: str, place: int, label: str) -> None:
    points = [(row["epoch"], row[column]) for row in rows if column in row]
    training = column == "loss"
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        color=svg.series(place),
        label=label,
        linestyle="--" if training else "-",
        linewidth=_WIDTHS[min(place, len(_WIDTHS) - 1)],
        marker=_MARKERS[place % len(_MARKERS)] if not training else "x" if len(points) == 1 else "",
        markersize=7 if place == 0 else 4,
        markerfacecolor=svg.PAPER if place == 0 else svg.series(place),
        markeredgewidth=1.4,
    )


def _mark_fine_tuning(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    first = next((row["epoch"] for row in rows if row["phase"] != "head"), None)
    if first is None or first == rows[0]["epoch"]:
        return
    axes.axvline(first - 0.5, color=svg.MUTED, linewidth=0.8, linestyle=":")
    axes.annotate(
        "fine-tuning", (first - 0.5, 1), (4, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
        va="top", fontsize=8, color=svg.MUTED,
    )  # fmt: skip


def _cells(axes: Axes, counts: np.ndarray, colour: str, size: float) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row, column in np.argwhere(counts):
        share = float(shares[row, column])
        fill = (*to_rgb(colour), _FAINTEST + (_STRONGEST - _FAINTEST) * share)
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=fill, linewidth=0))
        axes.text(column, row, f"{counts[row, column]:d}", ha="center", va="center", fontsize=size)
    edge = len(counts) - 0.5
    axes.set(xlim=(-0.5, edge), ylim=(edge, -0.5), aspect="equal")
    axes.set_xticks(np.arange(len(counts) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(counts) + 1) - 0.5, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor")
    axes.spines[:].set_visible(True)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.add_subplot()


def short(name: str) -> str:
    """A class name that fits an axis: one line of printable characters, cut to `_LABEL`."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(name.split()))
    return line if len(line) <= _LABEL else line[: _LABEL - 1] + "…"


def _last(run: Run, column: str) -> str:
    values = [row[column] for row in run.metrics["epochs"] if column in row]
    return f"{values[-1]:.4f}" if values else "none"
