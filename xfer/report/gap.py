"""`xfer.gap`: what each difference between two frameworks is worth, and the page that shows it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.features.cache import FeatureCache
from xfer.models.backend import Backend
from xfer.report.charts import new_figure
from xfer.report.compare import require_libraries
from xfer.report.svg import Drawing, Palette, element
from xfer.report.template import fill
from xfer.runtime.files import write_atomically, writing_into
from xfer.runtime.paths import expanded
from xfer.workflows.differences.gap import SHOWN, Effect, Gap, Metric
from xfer.workflows.differences.interval import LEVEL, signed
from xfer.workflows.differences.job import measure_gap
from xfer.workflows.results import writable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOCUMENT = "gap.json"
PAGE = "gap.html"
TITLES: dict[Metric, str] = {"accuracy": "accuracy, %", "loss": "loss"}


def gap(
    data: Any,
    *,
    from_: str = "torch",
    to: str = "keras",
    parts: str | Iterable[str] | None = None,
    seeds: int = 5,
    backend: str | Backend | None = None,
    out: str | os.PathLike[str] | None = None,
    cache: bool | str | Path | FeatureCache = True,
    progress: bool = True,
    **options: Any,
) -> Gap:
    """Measure what each difference between PyTorch's and Keras's habits is worth, in one engine.

    A network is trained with all habits of the one framework, then with one part exchanged at a time for the habit of
    the other, then with all of them exchanged, each with several seeds of head, order and augmentation. Differences are
    taken at the same seed; their 95 % intervals are those of a paired t-test. Accuracy and log loss are those of the
    validation images after the last epoch. Each run trains a new head on the frozen network, and then the last block
    with its batch normalisation; what is frozen is computed once for all seeds, into the feature cache.

    Args:
        data: a path, "digits", or whatever `xfer.data.load` takes; of one task.
        from_, to: "torch" and "keras", or the reverse; also "pytorch" and "tensorflow".
        parts: which to exchange, such as "padding,norm-eps"; by default all. "resize=nearest" names a value.
        seeds: how many runs of each kind, at least 2.
        backend: the engine, as in `xfer.load`.
        out: a folder for `gap.html` and `gap.json`.
        cache: False for no feature cache, or where it is; see `xfer.features.cache.FeatureCache`.
        progress: whether progress is shown on stderr.
        options: of `xfer train`: model, weights, image_size, hidden, dropout, device, precision ("fp32"); val, limit,
            batch_size, workers, augment; optimizer, momentum, nesterov, betas, eps, weight_decay, clip_norm; lr,
            schedule, warmup; loss, focal, label_smoothing, class_weights; epochs (5), fine_tune (5), unfreeze,
            fine_tune_lr, train_norm (True) and seed, the first.

    Returns:
        `Gap`: `effects`, `together`, `unexplained`, `not_applied`, `table()`, `document()`.

    Raises:
        UnknownNameError: a part, value, framework or option that does not exist. UsageError: no part applies, one seed,
        or several processes. DataError: no validation images. XferError: what training says; or the libraries of the
        page are missing.
    """
    if out is not None:
        require_libraries()
        writable(expanded(os.fspath(out)))
    found = measure_gap(
        data,
        from_=from_,
        to=to,
        parts=parts,
        seeds=seeds,
        backend=backend,
        cache=cache,
        progress=progress,
        **options,
    )
    if out is not None:
        write(found, expanded(os.fspath(out)))
    return found


def write(found: Gap, folder: Path) -> None:
    """Write `gap.html` and `gap.json`.

    Raises:
        XferError: the libraries of the page are missing. CheckpointError: the folder cannot be written into.
    """
    require_libraries()
    with writing_into(folder):
        write_atomically(folder / DOCUMENT, found.to_json().encode())
        write_atomically(folder / PAGE, render(found))


def render(found: Gap) -> bytes:
    """The page as UTF-8."""
    return fill(
        "gap.html",
        gap=found,
        source=PurePath(found.images.source).name,
        charts=[
            (title, element(waterfall(found, name), name, _said(found, name))) for name, title in _charts(found).items()
        ],
        level=f"{100 * LEVEL:g}",
        means={name: float(np.mean(getattr(found, name))) for name in TITLES},
        settings=[(name, [str(value)]) for name, value in found.settings.items()],
    )


def waterfall(found: Gap, metric: Metric) -> Drawing:
    """From one framework's habits to the other's, part by part: bars of differences, lines of their intervals."""
    start = SHOWN[metric][0] * float(np.mean(getattr(found, metric)))

    def draw(palette: Palette) -> Figure:
        effects = (*found.effects, found.unexplained)
        figure, axes = new_figure(5.6, 0.31 * (len(effects) + 2) + 0.7)
        at = start
        _end(axes, 0, at, palette)
        _connect(axes, 0, at, palette)
        for row, effect in enumerate(effects, 1):
            at = _bar(axes, row, at, effect, metric, palette)
        _end(axes, len(effects) + 1, at, palette)
        names = [f"habits of {found.before}", *(effect.name for effect in effects), f"habits of {found.after}"]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        if metric == "accuracy":
            axes.set_xlim(right=min(axes.get_xlim()[1], 100.5))
        axes.set_xlabel(f"validation {TITLES[metric]}")
        return figure

    return draw


def _end(axes: Axes, row: int, at: float, palette: Palette) -> None:
    axes.plot(at, row, "D", color=palette.ink, markersize=5, zorder=3)
    _value(axes, row, f"{at:.4g}", palette)


def _bar(axes: Axes, row: int, at: float, effect: Effect, metric: Metric, palette: Palette) -> float:
    """The bar of an effect that begins where the one before has ended; returns where it ends."""
    estimate, (scale, digits) = effect.of(metric), SHOWN[metric]
    mean, low, high = (scale * value for value in (estimate.mean, estimate.low, estimate.high))
    better = (mean > 0) == (metric == "accuracy")
    noise = estimate.within_noise
    axes.barh(row, mean, 0.62, at, color=palette.grid if noise else palette.series(0 if better else 1), zorder=1)
    axes.plot([at + low, at + high], [row, row], color=palette.muted if noise else palette.ink, linewidth=1.1, zorder=2)
    _connect(axes, row, at + mean, palette)
    _value(axes, row, signed(mean, digits), palette)
    return at + mean


def _connect(axes: Axes, row: int, at: float, palette: Palette) -> None:
    axes.plot([at, at], [row, row + 1], color=palette.muted, linewidth=0.7, zorder=0)


def _value(axes: Axes, row: int, text: str, palette: Palette) -> None:
    place: Any = axes.get_yaxis_transform()
    axes.text(1.02, row, text, transform=place, va="center_baseline", fontsize=8.5, color=palette.ink)


def _charts(found: Gap) -> dict[Metric, str]:
    """The metrics, each with its finding."""
    titles: dict[Metric, str] = {}
    for name in TITLES:
        moved = [each.name for each in found.effects if found.is_clear(each, name)]
        said = f"{', '.join(moved)}, by more than seeds do" if moved else "no part by more than seeds do"
        titles[name] = f"What moves {name}: {said}"
    return titles


def _said(found: Gap, name: Metric) -> str:
    """The chart in words."""
    each = "; ".join(f"{row.name} {row.text(name)}" for row in found.rows)
    return f"Waterfall of {TITLES[name]} from the habits of {found.before} to those of {found.after}: {each}"
