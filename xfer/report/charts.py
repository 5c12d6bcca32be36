"""Charts of counts and shares, from arrays: the confusion matrix, the reliability diagram, numbers against numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from xfer.evaluation.reliability import Reliability
from xfer.report.svg import Drawing, Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 50
_LABEL = 18  # characters of a class name that an axis has room for
_CHARACTER = 0.085  # inches

# Opacity of a cell: one image is seen, and the count stays readable on a full row, by day and by night.
_FAINTEST, _STRONGEST = 0.08, 0.55
_MOST_DOTS = 3000


def confusion(counts: np.ndarray, classes: Sequence[str], place: int = 0, title: str = "") -> Drawing:
    """The confusion matrix with counts; a cell is as strong as its share of the row.

    Args:
        counts: int (K, K), rows true, columns predicted. Beyond `MOST_CLASSES` neither names nor counts are written.
        classes: their K names.
        place: of the series, for its colour.
        title: above the axes.
    """
    few = len(classes) <= MOST_CLASSES

    def draw(palette: Palette) -> Figure:
        side = float(np.clip(0.42 * len(classes), 3.0, 11.5))
        figure, axes = new_figure(side, side)
        if few:
            size = float(np.clip(side / len(classes) * 26, 5.5, 12))
            _cells(axes, counts, palette.series(place), size)
            _name_axes(axes, [short(name) for name in classes], side)
        else:
            _picture(axes, counts, palette.series(place))
        axes.set(xlabel="predicted", ylabel="true", title=title)
        return figure

    return draw


def reliability(found: Reliability, title: str = "") -> Drawing:
    """The reliability diagram of Guo et al. (2017): accuracy by confidence, and how many images each bin holds."""
    edges = np.linspace(0, 1, len(found.images) + 1)
    full, width = found.images > 0, 1 / len(found.images)

    def draw(palette: Palette) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(3.9, 4.1))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        bars = {"x": edges[:-1][full], "width": width, "align": "edge", "linewidth": 0.8}
        blue, red = palette.series(0), palette.series(1)
        upper.bar(
            height=found.accuracy[full], color=blue, alpha=0.75, edgecolor=palette.paper, label="accuracy", **bars
        )
        gap = (found.confidence - found.accuracy)[full]
        upper.bar(
            height=gap, bottom=found.accuracy[full], facecolor="none", edgecolor=red, hatch="///",
            label="confidence - accuracy", **bars,
        )  # fmt: skip
        upper.plot([0, 1], [0, 1], color=palette.muted, linestyle="--", linewidth=1)
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=title)
        upper.legend(loc="upper left", fontsize=8)
        lower.bar(height=found.images[full], color=palette.muted, **bars)
        lower.set(xlabel="confidence", ylabel="images")
        return figure

    return draw


def true_against_predicted(true: np.ndarray, predicted: np.ndarray, unit: str) -> Drawing:
    """Predicted numbers over the true ones, float (N,) each, with the diagonal; `unit` names the number."""

    def draw(palette: Palette) -> Figure:
        figure, axes = new_figure(3.9, 3.9)
        _dots(axes, true, predicted, palette.series(0))
        low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
        axes.plot([low, high], [low, high], color=palette.muted, linestyle="--", linewidth=1)
        axes.set(xlabel=f"true {short(unit)}", ylabel=f"predicted {short(unit)}")
        axes.grid()
        return figure

    return draw


def residuals(true: np.ndarray, predicted: np.ndarray, unit: str) -> Drawing:
    """Predicted minus true, float (N,) each, over the predicted number; a right prediction is on the line at 0."""

    def draw(palette: Palette) -> Figure:
        figure, axes = new_figure(3.9, 3.9)
        _dots(axes, predicted, predicted - true, palette.series(1))
        axes.axhline(0, color=palette.muted, linestyle="--", linewidth=1)
        axes.set(xlabel=f"predicted {short(unit)}", ylabel="residual: predicted - true")
        axes.grid()
        return figure

    return draw


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.add_subplot()


def short(name: str) -> str:
    """A class name that fits an axis: one line of printable characters, cut to `_LABEL`."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(name.split()))
    return line if len(line) <= _LABEL else line[: _LABEL - 1] + "…"


def _dots(axes: Axes, x: np.ndarray, y: np.ndarray, colour: str) -> None:
    """Points, a sample of them where there are many, so that the picture stays small."""
    if len(x) > _MOST_DOTS:
        chosen = np.random.default_rng(0).choice(len(x), _MOST_DOTS, replace=False)
        x, y = x[chosen], y[chosen]
    axes.plot(x, y, "o", color=colour, markersize=4, alpha=0.55, markeredgewidth=0)


def _name_axes(axes: Axes, names: Sequence[str], side: float) -> None:
    upright = max(map(len, names)) * _CHARACTER > side / len(names)
    axes.set_xticks(range(len(names)), names, rotation=90 if upright else 0)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)


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


def _picture(axes: Axes, counts: np.ndarray, colour: str) -> None:
    """A cell a pixel, for more classes than can be named."""
    from matplotlib.colors import to_rgb

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    pixels = np.empty((*counts.shape, 4))
    pixels[..., :3], pixels[..., 3] = to_rgb(colour), np.where(counts > 0, _FAINTEST + (1 - _FAINTEST) * shares, 0)
    axes.imshow(pixels, interpolation="nearest")
    axes.spines[:].set_visible(True)
