"""One trial: a run of `xfer train` without its files, ended early where it is hopeless."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

from xfer.data import Data
from xfer.errors import NumbersError, TrainingError, UsageError
from xfer.runtime.profiling import Phases
from xfer.specs.settings import RunSettings
from xfer.training.callback import Callback, TrainerView
from xfer.training.history import Row
from xfer.training.notebook import NotebookProgress
from xfer.training.progress import Progress
from xfer.workflows.phases import train_phases
from xfer.workflows.run import begin, validate
from xfer.workflows.tuning.result import Trial

_SHOWING = (Progress, NotebookProgress)

Hopeless = Callable[[Mapping[int, float]], bool]


class Pruned(Exception):  # noqa: N818 - no error: the trial is over
    """The trial is not worth another epoch."""


class Reporting(Callback):
    """Notes the monitored metric after each epoch, and ends a trial that is hopeless."""

    def __init__(self, monitor: str, hopeless: Hopeless) -> None:
        self.monitor, self.hopeless = monitor, hopeless
        self.epochs: dict[int, float] = {}

    def on_epoch_end(self, trainer: TrainerView, row: Row) -> None:
        """Note the value."""
        if self.monitor in row:  # else best weights say why not
            self.epochs[trainer.epoch] = float(row[self.monitor])
            if self.hopeless(self.epochs):
                raise Pruned


def run_trial(number: int, config: RunSettings, data: Data, params: Mapping[str, Any], hopeless: Hopeless) -> Trial:
    """Train with these options, and validate as `xfer train` does; the test split is not looked at.

    Args:
        number: of the trial.
        config: all other options.
        data: as `xfer.workflows.setup.read_data` reads it.
        params: options of this trial.
        hopeless: whether a trial with these values by epoch is to end.

    Raises:
        UsageError: options that do not go together, or a metric that validation leaves undefined.
    """
    started, settings = time.perf_counter(), with_params(config, params)
    reporting = Reporting(config.monitor, hopeless)

    def over(state: Any, value: float | None, reason: str = "") -> Trial:
        seconds = time.perf_counter() - started
        return Trial(number, state, value, dict(params), reporting.epochs, seconds, reason)

    try:
        trainer = begin(settings, data, progress=True)
        # A bar shows the epochs; a line for each would hide the trials.
        trainer.callbacks = [*(c for c in trainer.callbacks if not isinstance(c, _SHOWING)), reporting]
        judged = train_phases(settings, data, trainer, Phases())
        metrics = validate(settings, trainer.model, judged).metrics
    except Pruned:
        return over("pruned", list(reporting.epochs.values())[-1])
    except (TrainingError, NumbersError) as error:
        return over("failed", None, str(error))
    finally:
        trainer = None  # type: ignore[assignment]
        gc.collect()  # networks hold circles: the memory of each is to be free before the next
    name = config.monitor.removeprefix("val_")
    if name not in metrics:
        raise UsageError(f"metric {name}: the validation images leave it undefined, such as when a class has none")
    return over("complete", float(metrics[name]))


def with_params(config: RunSettings, params: Mapping[str, Any]) -> RunSettings:
    """The settings of a trial."""
    return RunSettings.of({**{name: getattr(config, name) for name in config.model_fields_set}, **params})
