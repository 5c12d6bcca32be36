"""A search: trial after trial until there are enough, and what is written of them."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from xfer.data import Data
from xfer.errors import UsageError, XferError, check_name
from xfer.runtime import progress
from xfer.runtime.files import write_atomically
from xfer.runtime.paths import expanded
from xfer.runtime.signals import Interrupted
from xfer.runtime.text import count_of
from xfer.specs.settings import RunSettings
from xfer.specs.space import Range, Space, default_space, parse_space
from xfer.training.monitor import lower_is_better
from xfer.workflows.config import toml_text
from xfer.workflows.resume import fingerprints
from xfer.workflows.setup import check_run, read_data
from xfer.workflows.tuning.ray import run_on_ray
from xfer.workflows.tuning.result import Trial, Tuning, best_of, shown
from xfer.workflows.tuning.study import Study, open_study
from xfer.workflows.tuning.trial import run_trial, with_params
from xfer.zoo import card

BEST = "best.toml"
Launcher = Literal["none", "ray"]
LEFT_OUT = ("out", "monitor", "checkpoint_seconds", "checkpoint_steps", "tensorboard", "track")  # a trial has no files


def search(
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
    **options: Any,
) -> Tuning:
    """Search options; the arguments and errors are those of `xfer.tune`."""
    check_name("launcher", launcher, get_args(Launcher))
    if trials < 1 or processes < 1 or (timeout is not None and timeout <= 0):
        raise UsageError(f"trials={trials}, processes={processes}, timeout={timeout}: give at least 1, and more than 0")
    if unknown := sorted(options.keys() & set(LEFT_OUT)):
        raise UsageError(f"{unknown[0]} is no option of a search: leave it out")
    config, searched = _checked(os.fspath(data), metric, space, options)
    folder = expanded(os.fspath(out))
    toml_text(config.document())  # so that it is known now whether it can be written
    source = read_data(config)
    if source.val is None or not len(source.val):
        raise UsageError(f"{source.source} has no validation images, by which trials are compared")
    higher = not lower_is_better(config.monitor)
    with open_study(folder, config, searched, fingerprints(source), higher=higher, prune=prune) as study:
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            if launcher == "ray":
                for trial in run_on_ray(study, config, trials, processes, deadline, higher=higher):
                    say_trial(trial, config.monitor)
            else:
                _run(study, config, source, trials, deadline)
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted(signal.SIGINT, folder) from None
        return _result(study, config, searched, source, folder, higher=higher)


def _checked(
    data: str, metric: str | None, space: Mapping[str, Any] | None, options: Mapping[str, Any]
) -> tuple[RunSettings, dict[str, Any]]:
    """What all trials share, and what is searched."""
    monitor = {} if metric is None else {"monitor": f"val_{metric.removeprefix('val_')}"}
    given = {"data": data, **options, **monitor}
    plain = RunSettings.of(given)
    if plain.monitor == "loss":
        raise UsageError("metric loss of training says nothing of other images: give one on validation")
    if space is None and not (space := default_space(plain, len(card(plain.model).block_names) - 1)):
        raise UsageError("nothing is left to search: give a space, such as lr=1e-4..1e-1")
    searched = parse_space(space, given)
    check_run(plain)
    for name, each in searched.items():  # what only fails with one of the values
        for value in (each.low, each.high) if isinstance(each, Range) else each.values:
            check_run(with_params(plain, {name: value}))
    return plain, searched


def _run(study: Study, config: RunSettings, data: Data, trials: int, deadline: float | None) -> None:
    left = study.left(trials)
    with progress.work("tuning", trials, "trials", trials - len(left)) as report:
        for number in left:
            if deadline is not None and time.monotonic() > deadline:
                break
            trial = run_trial(number, config, data, study.ask(number), study.hopeless)
            study.tell(trial)
            say_trial(trial, config.monitor)
            report.advance()


def say_trial(trial: Trial, monitor: str) -> None:
    """One line on stderr."""
    chosen = ", ".join(f"{name} {shown(value)}" for name, value in trial.params.items())
    value = "" if trial.value is None else f": {monitor} {trial.value:.4f}"
    state = {
        "complete": "",
        "pruned": f", pruned after {count_of(len(trial.epochs), 'epoch')}",
        "failed": f": {trial.reason}",
    }
    progress.say(f"trial {trial.number}{value}{state[trial.state]} ({chosen})")


def _result(study: Study, config: RunSettings, space: Space, data: Data, folder: Path, *, higher: bool) -> Tuning:
    found = study.trials()
    if not any(each.state == "complete" for each in found):
        last = next((each.reason for each in reversed(found) if each.reason), "none had the time")
        raise XferError(f"no trial of {len(found)} is complete: {last}")
    best = with_params(config, best_of(found, higher=higher).params).document() | {"out": str(folder / "best")}
    write_atomically(folder / BEST, toml_text(best).encode())
    return Tuning(
        trials=found,
        metric=config.monitor,
        higher=higher,
        space={name: str(each) for name, each in space.items()},
        importance=study.importance(),
        images=len(data.judged),
        untouched=0 if data.test is None else len(data.test),
        settings=best,
        path=folder,
        command=shlex.join(["xfer", "train", "--config", str(folder / BEST)]),
    )
