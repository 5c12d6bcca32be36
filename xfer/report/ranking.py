"""`xfer.rank`: which pretrained network to take, and the page that shows it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from xfer.evaluation.out_of_fold import STRENGTH
from xfer.evaluation.probe import NEIGHBOURS
from xfer.features.cache import FeatureCache
from xfer.models.backend import Backend
from xfer.models.base_model import BaseModel
from xfer.report import svg
from xfer.report.compare import require_libraries
from xfer.report.template import fill
from xfer.runtime.files import write_atomically, writing_into
from xfer.runtime.paths import expanded
from xfer.workflows.ranking.job import rank_models
from xfer.workflows.ranking.ranking import Ranked, Ranking
from xfer.workflows.results import writable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCUMENT = "ranking.json"
PAGE = "ranking.html"


def rank(
    data: Any,
    *,
    models: Iterable[str | BaseModel] | None = None,
    under: int | str | None = None,
    backend: str | Backend | None = None,
    out: str | os.PathLike[str] | None = None,
    cache: bool | str | Path | FeatureCache = True,
    progress: bool = True,
    **options: Any,
) -> Ranking:
    """Rank pretrained networks for a data set without training them, the most promising first, by LogME.

    Each network makes one pass over the training images; its features go into the feature cache, from which a second
    call, and training a head, reads them. Validation and test images are not looked at, nor is the fifth that
    `xfer train` holds out of a folder or table without a split. Left out are images without a label and classes with
    one image; columns of a table are not used.

    Args:
        data: a path, "digits", or whatever `xfer.data.load` takes; of one task.
        models: architectures, each with its best published weights, which are downloaded if they are not here, or with
            others after a colon: "resnet50:IMAGENET1K_V1", "resnet50:weights.pth", "resnet50:none" for seeded random
            ones; or models, such as those of `xfer.wrap`. By default all architectures whose best published weights
            are on this machine; the others are listed in `left_out`.
        under: of those, only networks with at most so many parameters, such as "30M".
        backend: as in `xfer.load`.
        out: a folder for `ranking.html` and `ranking.json`.
        cache: False for no feature cache, or where it is; see `xfer.features.cache.FeatureCache`.
        progress: whether the network at work is named on stderr.
        options: `val`, `limit`, `seed`, `batch_size`, `workers`, `device`, `precision`, `image_size`,
            `missing_pixels`, `decode` and `deterministic`, as in `xfer train`.

    Raises:
        UsageError: several tasks, a model that is a run or was trained on these images, or no candidate. DataError:
        fewer than two classes with two images. XferError: no network could be ranked; or the libraries of the page are
        missing. A network that cannot be loaded is in `left_out`.
    """
    if out is not None:
        require_libraries()
        writable(expanded(os.fspath(out)))
    found = rank_models(data, models=models, under=under, backend=backend, cache=cache, progress=progress, **options)
    if out is not None:
        write(found, expanded(os.fspath(out)))
    return found


def write(ranking: Ranking, folder: Path) -> None:
    """Write `ranking.html` and `ranking.json`.

    Raises:
        XferError: the libraries of the page are missing. CheckpointError: the folder cannot be written into.
    """
    require_libraries()
    with writing_into(folder):
        write_atomically(folder / DOCUMENT, ranking.to_json().encode())
        write_atomically(folder / PAGE, render(ranking))


def render(ranking: Ranking) -> bytes:
    """The page as UTF-8."""
    from markupsafe import Markup

    reasons = dict.fromkeys(each.reason for each in ranking.left_out)
    return fill(
        "ranking.html",
        ranking=ranking,
        source=PurePath(ranking.images.source).name,
        front=not_beaten(ranking.ranked),
        charts=[Markup(accuracy_chart(ranking.ranked)), Markup(logme_chart(ranking.ranked))],
        left_out={why: [each.model for each in ranking.left_out if each.reason == why] for why in reasons},
        neighbours=NEIGHBOURS,
        strength=STRENGTH,
    )


def not_beaten(ranked: Iterable[Ranked]) -> list[Ranked]:
    """Networks than which no other is at least as fast and as accurate, and one of the two more."""
    every = list(ranked)

    def beats(a: Ranked, b: Ranked) -> bool:
        no_worse = a.seconds_per_image <= b.seconds_per_image and a.probe_accuracy >= b.probe_accuracy
        return no_worse and (a.seconds_per_image, a.probe_accuracy) != (b.seconds_per_image, b.probe_accuracy)

    return [each for each in every if not any(beats(other, each) for other in every)]


def accuracy_chart(ranked: Sequence[Ranked]) -> str:
    """Accuracy of the linear probe, with its interval, against the time of a forward pass."""
    values = [100 * each.probe_accuracy for each in ranked]
    bounds = [[100 * bound for bound in each.interval] for each in ranked]
    lines = [f"{each.model} {value:.1f} %" for each, value in zip(ranked, values, strict=True)]
    return _chart(ranked, values, bounds, "accuracy of the linear probe, %", "accuracy", "; ".join(lines))


def logme_chart(ranked: Sequence[Ranked]) -> str:
    """LogME against the time of a forward pass."""
    lines = [f"{each.model} {each.logme:.3f}" for each in ranked]
    return _chart(ranked, [each.logme for each in ranked], [], "LogME", "logme", "; ".join(lines))


def _chart(
    ranked: Sequence[Ranked],
    values: Sequence[float],
    bounds: Sequence[Sequence[float]],
    label: str,
    name: str,
    description: str,
) -> str:
    """A point a network, with its place in the ranking; those that no other beats are filled."""
    from matplotlib.figure import Figure

    front = not_beaten(ranked)
    with svg.drawing():
        figure = Figure(figsize=(5.3, 3.6))
        axes = figure.add_subplot()
        for place, (each, value) in enumerate(zip(ranked, values, strict=True)):
            x = 1e3 * each.seconds_per_image
            if bounds:
                axes.plot([x, x], bounds[place], color=svg.MUTED, linewidth=1, zorder=1)
            fill = svg.series(0) if each in front else svg.PAPER
            axes.plot(
                x, value, "o", markersize=14, color=fill, markeredgecolor=svg.series(0), markeredgewidth=1.3, zorder=2
            )
            ink = svg.PAPER if each in front else svg.INK
            axes.text(x, value, str(place + 1), ha="center", va="center_baseline", fontsize=8.5, color=ink, zorder=3)
        _axis_of_times(axes, [1e3 * each.seconds_per_image for each in ranked])
        axes.margins(y=0.12)
        if bounds:
            axes.set_ylim(top=min(axes.get_ylim()[1], 102))
        axes.grid(axis="y")
        axes.set_ylabel(label)
        return svg.inline(figure, name, f"{label} against milliseconds an image: {description}")


def _axis_of_times(axes: Axes, times: Sequence[float]) -> None:
    """A logarithmic axis with round numbers."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

    low, high = min(times) / 1.3, max(times) * 1.3
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    steps = [base * 10.0**decade for decade in range(-6, 7) for base in (1, 2, 3, 5, 7)]
    axes.xaxis.set_major_locator(FixedLocator([step for step in steps if low <= step <= high] or [times[0]]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.3g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("milliseconds an image, forward pass")
