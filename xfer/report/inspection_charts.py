"""Charts of a data set: images of each class, and their sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from xfer.data import Inspection
from xfer.report import svg
from xfer.report.charts import short
from xfer.runtime.text import count_of

MOST_CLASSES = 40  # of a bar chart: of more the largest and the smallest
_MOST_SIZES = 3000  # points of a scatter plot
_HATCHES = ("", "////", "....")


def bars(found: Inspection) -> str:
    """Readable images of each class as horizontal bars, the largest class first, a bar a split."""
    from matplotlib.ticker import MaxNLocator

    train = found.splits["train"].counts
    order = sorted(train, key=lambda name: (-train[name], name))
    if len(order) > MOST_CLASSES:
        order = [*order[: MOST_CLASSES // 2], *order[-MOST_CLASSES // 2 :]]
    names = list(found.splits)
    thick = 0.8 / len(names)
    with svg.drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.2, max(0.24 * len(names) * len(order), 0.7) + 0.9))
        axes = figure.add_subplot()
        for place, name in enumerate(names):
            at = np.arange(len(order)) + (place - (len(names) - 1) / 2) * thick
            values = [found.splits[name].counts.get(label, 0) for label in order]
            fill: dict[str, Any] = {
                "color": svg.series(place),
                "edgecolor": svg.PAPER,
                "hatch": _HATCHES[place],
                "linewidth": 0,
            }
            drawn = axes.barh(at, values, height=thick * 0.92, label=name, **fill)
            axes.bar_label(drawn, fmt="{:,.0f}", padding=3, fontsize=8)
        axes.set_yticks(range(len(order)), [short(label) for label in order])
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.set_xlabel("readable images")
        axes.margins(x=0.1)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        if len(names) > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names), fontsize=8.5)
        said = "; ".join(f"{label} {train[label]}" for label in order[:5])
        return svg.inline(figure, "counts", f"Readable images of each class; in train {said}")


def sizes(found: Inspection) -> str:
    """Width and height of the images, a mark for each size: the more images have it, the larger. Empty without any."""
    every = [(name, size) for name, split in found.splits.items() for size in split.sizes]
    if not every:
        return ""
    from matplotlib.ticker import LogLocator, NullFormatter

    with svg.drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.2, 4.2))
        axes = figure.add_subplot()
        most = max(number for _, (*_, number) in every)
        for place, name in enumerate(found.splits):
            table = np.array(found.splits[name].sizes[:_MOST_SIZES], float).reshape(-1, 3)
            area = 10 + 150 * table[:, 2] / most
            axes.scatter(
                table[:, 0], table[:, 1], s=area, label=name, marker="os^"[place], facecolors="none",
                edgecolors=svg.series(place), linewidths=1.1,
            )  # fmt: skip
        largest = max(max(width, height) for _, (width, height, _) in every)
        smallest = min(min(width, height) for _, (width, height, _) in every)
        if largest > 8 * smallest:
            axes.set(xscale="log", yscale="log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter("{x:,.0f}")
                axis.set_minor_formatter(NullFormatter())
        else:
            axes.set(xlim=(0, largest * 1.08), ylim=(0, largest * 1.08))
        axes.set(xlabel="width, pixels", ylabel="height, pixels", aspect="equal")
        axes.grid()
        axes.set_axisbelow(True)
        if len(found.splits) > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8.5)
        different = len({(width, height) for _, (width, height, _) in every})
        described = (
            f"Width and height of the images: {count_of(different, 'size')}, sides {smallest} to {largest} pixels"
        )
        return svg.inline(figure, "sizes", described)
