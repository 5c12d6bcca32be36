"""Plots of one evaluation as PNG files: the confusion matrix and the reliability diagram."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.evaluation.reliability import Reliability
from xfer.report.charts import MOST_CLASSES, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a class may be called $x$
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "legend.frameon": False,
}
_DPI = 150
_BLUE, _RED = "#3b6ea8", "#c8553d"


def confusion(counts: np.ndarray, classes: Sequence[str]) -> bytes:
    """The confusion matrix: colour is the share of the true class, text the count.

    Args:
        counts: int (K, K), rows true, columns predicted. Beyond `MOST_CLASSES` neither names nor counts are written.
        classes: their K names.
    """
    side = float(np.clip(0.42 * len(classes) + 1, 3.5, 14))
    with _drawing():
        figure = _figure(side, side)
        axes = figure.add_subplot()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        if len(classes) <= MOST_CLASSES:
            _name_cells(axes, counts, shares, classes)
        axes.set(xlabel="predicted", ylabel="true", title=f"{int(np.trace(counts))} of {int(counts.sum())} right")
        axes.spines[:].set_visible(False)
        return _png(figure)


def reliability(found: Reliability) -> bytes:
    """The reliability diagram of Guo et al. (2017): accuracy by confidence, and how many images each bin holds."""
    edges = np.linspace(0, 1, len(found.images) + 1)
    full = found.images > 0
    width = 1 / len(found.images)
    with _drawing():
        figure = _figure(4.2, 5)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        bars = {"x": edges[:-1][full], "width": width, "align": "edge", "linewidth": 0.6}
        upper.bar(height=found.accuracy[full], color=_BLUE, edgecolor="black", label="accuracy", **bars)
        gap = (found.confidence - found.accuracy)[full]
        upper.bar(
            height=gap, bottom=found.accuracy[full], color=_RED, alpha=0.4, edgecolor=_RED, hatch="//",
            label="confidence - accuracy", **bars,
        )  # fmt: skip
        upper.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=f"calibration error {found.error:.4f}")
        upper.legend(loc="upper left")
        lower.bar(height=found.images[full], color="grey", edgecolor="black", **bars)
        lower.set(xlabel="confidence", ylabel="images")
        return _png(figure)


def _name_cells(axes: Axes, counts: np.ndarray, shares: np.ndarray, classes: Sequence[str]) -> None:
    size = float(np.clip(150 / len(classes), 4.5, 10))
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, f"{counts[row, column]:d}", ha="center", va="center", fontsize=size, color=colour)
    names = [short(name) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)


@contextmanager
def _drawing() -> Iterator[None]:
    from matplotlib import style

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box is drawn for it
        yield


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Figure) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=_DPI, metadata={"Software": None})
    return written.getvalue()
