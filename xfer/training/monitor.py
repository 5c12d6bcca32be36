"""Callbacks that monitor a metric: early stopping and best weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from xfer.errors import UsageError
from xfer.evaluation.metrics import METRICS, is_metric
from xfer.specs.training_settings import TrainingSettings
from xfer.training.callback import Callback, TrainerView, below
from xfer.training.history import Row
from xfer.training.weight_averaging import ExponentialMovingAverage, WeightAverage, put_back

_LOWER = (*(name for name, metric in METRICS.items() if not metric.higher), "mae", "rmse")


class MetricMonitor(Callback):
    """Knows whether a metric has improved in this fit.

    Args:
        monitor: a key of the epoch's row: "loss", or "val_" and any metric of `xfer.metrics`, which the trainer then
            computes; of several tasks "val_<task>_<metric>". Lower is better of losses and errors, higher of the rest.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self._best = math.inf

    def on_fit_begin(self, trainer: TrainerView, epochs: int) -> None:
        self._best = math.inf

    def on_model_change(self, trainer: TrainerView, new_head: bool) -> None:
        if new_head:  # its values say nothing of the old one's
            self._best = math.inf

    def state(self) -> dict[str, np.ndarray]:
        return {"best": np.array(self._best)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._best = float(state["best"])

    def improved(self, row: Row) -> bool:
        """Whether the row is better than all before it in this fit."""
        if self.monitor not in row:
            raise UsageError(f"cannot watch {self.monitor!r}: {self._why_missing(row)}")
        value = row[self.monitor] if lower_is_better(self.monitor) else -row[self.monitor]
        if not value < self._best:  # nor is what is not a number
            return False
        self._best = value
        return True

    def metric(self) -> str | None:
        """The name of the metric that validation must compute for it, if it is one."""
        name = self.monitor.removeprefix("val_")
        if name == self.monitor or is_metric(name):
            return name if name != self.monitor else None
        # Of several tasks: the task's name comes first.
        return max((known for known in METRICS if name.endswith(f"_{known}")), key=len, default=None)

    def _why_missing(self, row: Row) -> str:
        if self.metric() is None:
            return f"an epoch has {', '.join(row)}"
        if not any(key.startswith("val_") for key in row):
            return "there are no images to validate on"
        return "the validation images leave it undefined, such as when a class has none"


def lower_is_better(monitor: str) -> bool:
    """Whether a value in the history is a loss or an error."""
    return monitor.removeprefix("val_") in _LOWER or monitor.endswith(tuple(f"_{name}" for name in _LOWER))


def monitors(settings: TrainingSettings, *, validated: bool) -> list[Callback]:
    """Early stopping, best weights and averages, as the settings say; without validation, metrics are of training.

    Where early stopping ends a fit before the epochs that are to be averaged, the best weights are what is left.
    """
    monitor, stops, swa = settings.monitor if validated else "loss", settings.early_stopping, settings.swa
    found: list[Callback] = [] if stops is None else [EarlyStopping(stops, monitor)]
    average = None if settings.ema is None else ExponentialMovingAverage(settings.ema)
    found += [] if average is None else [average]
    if settings.restore_best and (swa is None or stops is not None):
        found.append(BestWeights(monitor, average))
    return found if swa is None else [*found, WeightAverage(swa)]


class EarlyStopping(MetricMonitor):
    """Ends the fit when a metric has not improved for `patience` epochs."""

    def __init__(self, patience: int, monitor: str = "val_loss") -> None:
        super().__init__(monitor)
        self.patience = patience
        self._bad = 0

    def on_fit_begin(self, trainer: TrainerView, epochs: int) -> None:
        super().on_fit_begin(trainer, epochs)
        self._bad = 0

    def on_epoch_end(self, trainer: TrainerView, row: Row) -> None:
        self._bad = 0 if self.improved(row) else self._bad + 1
        trainer.stop = trainer.stop or self._bad >= self.patience

    def state(self) -> dict[str, np.ndarray]:
        return {**super().state(), "bad": np.array(self._bad)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        super().load_state(state)
        self._bad = int(state["bad"])


class BestWeights(MetricMonitor):
    """Keeps the tensors of the best epoch that training changes, and puts them back at the end of the fit.

    Args:
        monitor: as in `MetricMonitor`.
        average: the moving average that is validated, if one is; it is kept then.
    """

    def __init__(self, monitor: str = "val_loss", average: ExponentialMovingAverage | None = None) -> None:
        super().__init__(monitor)
        self._average = average
        self._kept: dict[str, np.ndarray] = {}

    def on_fit_begin(self, trainer: TrainerView, epochs: int) -> None:
        super().on_fit_begin(trainer, epochs)
        self._kept = {}

    def on_model_change(self, trainer: TrainerView, new_head: bool) -> None:
        super().on_model_change(trainer, new_head)
        if new_head:
            self._kept = {}
        elif self._kept:  # what was frozen until now is as it was in the best epoch
            self._kept = trainer.model.live_weights() | self._kept

    def on_epoch_end(self, trainer: TrainerView, row: Row) -> None:
        if self.improved(row):
            averages = {} if self._average is None else self._average.weights()
            self._kept = trainer.model.read(self._kept) | trainer.model.live_weights() | averages

    def on_fit_end(self, trainer: TrainerView) -> None:
        if self._kept and trainer.plan is None:  # of a fit that was broken off, the last weights are to go on with
            put_back(trainer.model, self._kept)

    def state(self) -> dict[str, np.ndarray]:
        return {**super().state(), **{f"kept/{name}": array for name, array in self._kept.items()}}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        super().load_state(state)
        self._kept = below(state, "kept")
