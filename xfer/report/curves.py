"""Charts of curves, from arrays: learning curves, ROC, and precision over recall."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xfer.evaluation.one_vs_rest import Curve
from xfer.report.charts import new_figure, short
from xfer.report.svg import Drawing, Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The first series is drawn wide and hollow, the next ones thin on top: where runs coincide, all remain visible.
_WIDTHS = (3.2, 1.4, 1.0)
_MARKERS = ("o", "s", "D", "^", "v", "P")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
MOST_NAMED = 6
_MOST_DRAWN = 50


@dataclass(frozen=True)
class Series:
    """One learning curve.

    Args:
        label: in the legend.
        points: (epoch, value) of each.
        place: of the series, for its colour.
        training: whether it is of the training images, which is dashed.
    """

    label: str
    points: tuple[tuple[int, float], ...]
    place: int = 0
    training: bool = False

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], column: str, label: str, place: int = 0) -> Series:
        """A column of a history."""
        points = tuple((row["epoch"], row[column]) for row in rows if column in row)
        return cls(label, points, place, not column.startswith("val_"))

    @property
    def last(self) -> str:
        """Its last value."""
        return f"{self.points[-1][1]:.4f}" if self.points else "none"


def fine_tuning(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """The first epoch of fine-tuning in a history that begins with the head."""
    first = next((row["epoch"] for row in rows if row["phase"] != "head"), None)
    return None if first is None or first == rows[0]["epoch"] else int(first)


def learning(series: Sequence[Series], fine_tuned_from: int | None = None) -> Drawing:
    """Curves by epoch on the same axes, with a line where fine-tuning begins."""

    def draw(palette: Palette) -> Figure:
        from matplotlib.ticker import MaxNLocator

        figure, axes = new_figure(5.3, 3.2)
        for each in series:
            _learning_curve(axes, each, palette)
        if fine_tuned_from is not None:
            _mark_fine_tuning(axes, fine_tuned_from, palette)
        axes.grid(axis="y")
        axes.margins(x=0.06, y=0.08)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        columns = min(len({each.place for each in series}), 3) if len(series) > 2 else len(series)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, handlelength=3.2, fontsize=8.5)
        return figure

    return draw


def range_test(found: Mapping[str, Any]) -> Drawing:
    """Smoothed losses of a range test of learning rates over the rates, with a line at the rate that was taken."""

    def draw(palette: Palette) -> Figure:
        figure, axes = new_figure(5.3, 3.2)
        axes.plot(found["rates"], found["losses"], color=palette.muted, alpha=0.5, linewidth=0.7, label="batch")
        axes.plot(found["rates"], found["smoothed"], color=palette.series(0), linewidth=1.6, label="smoothed")
        axes.axvline(found["lr"], color=palette.series(1), linestyle="--", linewidth=1, label=f"{found['lr']:.3g}")
        low, high = min(found["smoothed"]), max(found["smoothed"])
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(0, high + (high - low) / 2))
        axes.grid(axis="y")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8.5)
        return figure

    return draw


def roc(curves: Sequence[Curve]) -> Drawing:
    """Receiver operating characteristics; what `chosen` names is coloured, the rest is thin."""

    def draw(palette: Palette) -> Figure:
        figure, axes = new_figure(4.2, 3.6)
        axes.plot([0, 1], [0, 1], color=palette.muted, linestyle="--", linewidth=0.8)
        _one_vs_rest(axes, curves, palette, "default", "lower right")
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        return figure

    return draw


def precision_recall(curves: Sequence[Curve]) -> Drawing:
    """Precision over recall, as steps, whose area is the average precision."""

    def draw(palette: Palette) -> Figure:
        figure, axes = new_figure(4.2, 3.6)
        # High curves leave room below them, low ones above.
        _one_vs_rest(axes, curves, palette, "steps-pre", "lower left" if curves[0].area > 0.75 else "upper right")
        axes.set(xlabel="recall", ylabel="precision")
        return figure

    return draw


def chosen(curves: Sequence[Curve]) -> list[Curve]:
    """The curves that are named: all of `MOST_NAMED` or fewer; else the mean, which is first, and the worst."""
    if len(curves) <= MOST_NAMED:
        return list(curves)
    mean, *others = curves
    return [mean, *sorted(others, key=lambda curve: curve.area)[: MOST_NAMED - 1]]


def _one_vs_rest(axes: Axes, curves: Sequence[Curve], palette: Palette, drawstyle: Any, where: Any) -> None:
    named = chosen(curves)
    for curve in curves:
        if curve not in named and len(curves) <= _MOST_DRAWN:
            axes.plot(curve.x, curve.y, color=palette.muted, alpha=0.35, linewidth=0.6, drawstyle=drawstyle)
    for place, curve in reversed(list(enumerate(named))):
        colour, style = palette.series(place), _STYLES[place % len(_STYLES)]
        label = f"{short(curve.name)} {curve.area:.3f}"
        width = 2.4 if place == 0 else 1.4
        axes.plot(curve.x, curve.y, color=colour, label=label, linewidth=width, linestyle=style, drawstyle=drawstyle)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc=where, fontsize=8, handlelength=2.6)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
    axes.grid()


def _learning_curve(axes: Axes, series: Series, palette: Palette) -> None:
    place, colour = series.place, palette.series(series.place)
    axes.plot(
        [x for x, _ in series.points],
        [y for _, y in series.points],
        color=colour,
        label=series.label,
        linestyle="--" if series.training else "-",
        linewidth=_WIDTHS[min(place, len(_WIDTHS) - 1)],
        marker=_MARKERS[place % len(_MARKERS)] if not series.training else "x" if len(series.points) == 1 else "",
        markersize=7 if place == 0 else 4,
        markerfacecolor=palette.paper if place == 0 else colour,
        markeredgewidth=1.4,
    )


def _mark_fine_tuning(axes: Axes, first: int, palette: Palette) -> None:
    axes.axvline(first - 0.5, color=palette.muted, linewidth=0.8, linestyle=":")
    axes.annotate(
        "fine-tuning", (first - 0.5, 1), (4, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
        va="top", fontsize=8, color=palette.muted,
    )  # fmt: skip
