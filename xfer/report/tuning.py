"""`xfer.tune`: which options to train with, and the page that shows it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from xfer.report.charts import new_figure
from xfer.report.compare import require_libraries
from xfer.report.svg import Drawing, Palette, element
from xfer.report.template import fill
from xfer.runtime.files import write_atomically, writing_into
from xfer.runtime.progress import show_progress
from xfer.workflows.tuning.job import Launcher, search
from xfer.workflows.tuning.result import OPTIMISTIC, Tuning, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCUMENT = "tuning.json"
PAGE = "tuning.html"


def tune(
    data: str | os.PathLike[str],
    *,
    trials: int = 20,
    metric: str | None = None,
    space: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    prune: bool = True,
    out: str | os.PathLike[str] = "tune",
    launcher: Launcher = "none",
    processes: int = 1,
    progress: bool = True,
    **options: Any,
) -> Tuning:
    """Search training options: trials of `xfer train`, compared by a metric on the validation split.

    Optuna's TPE (Bergstra et al. 2011) chooses the options of each trial, and its median pruner ends those that are
    worse than half of the others. What frozen blocks compute is cached, so all trials of a head share one pass over
    the images. Writes into `out`: `best.toml`, all options of the best trial for `xfer train --config`; `tuning.json`
    and `tuning.html`; and `study.jsonl`, Optuna's journal. A search that was killed goes on when the same one is
    started again, and has the same trials as if it had not been.

    Args:
        data: a path or "digits", with or without a validation split. Its test split is not looked at.
        trials: how many there are to be, with those that are in `out` already.
        metric: such as "accuracy" or "macro_f1", which also chooses the best epoch of a trial; default: `monitor`'s,
            "loss".
        space: values by option: "1e-4..1e-1" for a range, on a logarithmic scale where its end is at least ten times
            its beginning; "adamw|sgd" or a list for choices. Default: learning rate, weight decay, label smoothing, and
            with `fine_tune` its rate, `unfreeze` and `augment`, without those that are given in `options`.
        timeout: seconds after which no trial begins.
        prune: whether trials that are worse than the median after an epoch are ended.
        out: the folder.
        launcher: "ray" runs trials in parallel by Ray Tune. They are then other trials each time.
        processes: how many Ray runs at a time.
        progress: whether progress is shown on stderr.
        options: those of `xfer train`, the same in all trials.

    Raises:
        UsageError: options, a space or a metric that cannot be; no Optuna; `out` holds another search. DataError: see
        `xfer.data.load`. XferError: no trial is complete; or the libraries of the page are missing.
    """
    require_libraries()
    with show_progress(progress):
        found = search(
            data,
            trials=trials,
            metric=metric,
            space=space,
            timeout=timeout,
            prune=prune,
            out=out,
            launcher=launcher,
            processes=processes,
            **options,
        )
        write(found)
    return found


def write(tuning: Tuning) -> None:
    """Write `tuning.html` and `tuning.json`.

    Raises:
        CheckpointError: the folder cannot be written into.
    """
    with writing_into(tuning.path):
        write_atomically(tuning.path / DOCUMENT, tuning.to_json().encode())
        write_atomically(tuning.path / PAGE, render(tuning))


def render(tuning: Tuning) -> bytes:
    """The page as UTF-8."""
    best = tuning.best
    values = f"{tuning.metric} of {len(tuning.trials)} trials; the best is {best.value:.4f}, of trial {best.number}"
    shares = ", ".join(f"{name} {share:.0%}" for name, share in tuning.importance.items())
    return fill(
        "tuning.html",
        tuning=tuning,
        source=PurePath(str(tuning.settings["data"])).name,
        values=element(values_chart(tuning), "values", values),
        importance=element(importance_chart(tuning), "importance", f"Importance: {shares}") if shares else None,
        shown=shown,
        optimistic=OPTIMISTIC,
    )


def values_chart(tuning: Tuning) -> Drawing:
    """The value of each trial, and the best so far."""

    def draw(palette: Palette) -> Figure:
        from matplotlib.ticker import MaxNLocator

        figure, axes = new_figure(5.3, 3.2)
        for state, marker, colour in (("complete", "o", palette.series(0)), ("pruned", "x", palette.muted)):
            some = [(t.number, t.value) for t in tuning.trials if t.state == state and t.value is not None]
            if some:
                axes.plot(*zip(*some, strict=True), marker, color=colour, markersize=5, label=state)
        complete = [(t.number, t.value) for t in tuning.trials if t.state == "complete" and t.value is not None]
        best = max if tuning.higher else min
        line = [best(value for _, value in complete[: i + 1]) for i in range(len(complete))]
        numbers = [number for number, _ in complete]
        axes.plot(numbers, line, drawstyle="steps-post", color=palette.series(1), linewidth=1.4, label="best so far")
        axes.set(xlabel="trial", ylabel=tuning.metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(axis="y")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8.5)
        return figure

    return draw


def importance_chart(tuning: Tuning) -> Drawing:
    """The share of the variance that each option explains, the largest above."""

    def draw(palette: Palette) -> Figure:
        names, shares = list(tuning.importance), list(tuning.importance.values())
        figure, axes = new_figure(4.6, 0.7 + 0.35 * len(names))
        axes.barh(names[::-1], shares[::-1], color=palette.series(0), height=0.6)
        axes.set(xlabel="share of the variance", xlim=(0, 1))
        axes.grid(axis="x")
        return figure

    return draw
