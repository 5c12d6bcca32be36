"""What looks on while a model trains: early stopping, best weights, TensorBoard, and what a user adds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.errors import UsageError
from xfer.metrics import METRICS, is_metric

if TYPE_CHECKING:
    from xfer.history import Row
    from xfer.model import BaseModel
    from xfer.trainer import Trainer

_LOWER = (*(name for name, metric in METRICS.items() if not metric.higher), "mae", "rmse")


class Callback:
    """Hooks into the loop; every one may be left out. Setting `trainer.stop` ends the fit after the epoch."""

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Before the first of `epochs` epochs."""

    def on_epoch_begin(self, trainer: Trainer, epoch: int, steps: int) -> None:
        """Before the first of `steps` batches of an epoch."""

    def on_step_end(self, trainer: Trainer, step: int, loss: float) -> None:
        """After an update."""

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """After validation, with the epoch's row of the history."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch, also when the fit ended early or by an error."""

    def state(self) -> dict[str, np.ndarray]:
        """What a checkpoint in mid-fit must keep of this callback, for the fit to go on as if it had never stopped."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave; `on_fit_begin` was called before."""


class Watching(Callback):
    """Knows whether a metric has improved in this fit.

    Args:
        monitor: a key of the epoch's row: "loss", or "val_" and any metric of `xfer.metrics`, which the trainer then
            computes; of several tasks "val_<task>_<metric>". Lower is better of losses and errors, higher of the rest.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self._best = math.inf

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
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


class EarlyStopping(Watching):
    """Ends the fit when a metric has not improved for `patience` epochs."""

    def __init__(self, patience: int, monitor: str = "val_loss") -> None:
        super().__init__(monitor)
        self.patience = patience
        self._bad = 0

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        super().on_fit_begin(trainer, epochs)
        self._bad = 0

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        self._bad = 0 if self.improved(row) else self._bad + 1
        trainer.stop = trainer.stop or self._bad >= self.patience

    def state(self) -> dict[str, np.ndarray]:
        return {**super().state(), "bad": np.array(self._bad)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        super().load_state(state)
        self._bad = int(state["bad"])


class BestWeights(Watching):
    """Keeps the tensors of the best epoch that training changes, and puts them back at the end of the fit."""

    def __init__(self, monitor: str = "val_loss") -> None:
        super().__init__(monitor)
        self._kept: dict[str, np.ndarray] = {}

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        super().on_fit_begin(trainer, epochs)
        self._kept = {}

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        if self.improved(row):
            self._kept = trainer.model.live_weights()

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._kept and trainer.plan is None:  # of a fit that was broken off, the last weights are to go on with
            trainer.model.write(self._kept)

    def state(self) -> dict[str, np.ndarray]:
        return {**super().state(), **{f"kept/{name}": array for name, array in self._kept.items()}}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        super().load_state(state)
        self._kept = below(state, "kept")


class TensorBoard(Callback):
    """Writes every number of every epoch as TensorBoard events into a folder (extra "tensorboard")."""

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            raise UsageError('TensorBoard needs tensorboardX: pip install "xfer-learn[tensorboard]"') from None
        self._make = partial(SummaryWriter, str(folder))
        self._writer: Any = None

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        if trainer.world.rank:
            return
        self._writer = self._writer or self._make()
        for name, value in row.items():
            if isinstance(value, float):
                self._writer.add_scalar(name, value, row["epoch"])

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._writer is not None:
            self._writer.close()  # waits until all is written; another fit opens a file of its own


class WeightAverage(Callback):
    """Stochastic weight averaging (Izmailov et al. 2018): at the end of a fit, the mean of its last epochs.

    The mean is of all that training changes, statistics of normalisation included, and is taken in float64.

    Args:
        epochs: how many at the end of each fit.
    """

    def __init__(self, epochs: int) -> None:
        if epochs < 1:
            raise UsageError(f"swa={epochs}: give how many epochs at the end to average, at least 1")
        self.epochs = epochs
        self._left = 0
        self._total: dict[str, np.ndarray] = {}
        self._count = 0

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        self._left, self._total, self._count = epochs, {}, 0

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        if self._left <= self.epochs:
            for name, array in trainer.model.live_weights().items():
                self._total[name] = self._total.get(name, 0.0) + array.astype(np.float64)
            self._count += 1
        self._left -= 1

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._count and trainer.plan is None:
            trainer.model.write(mean_weights(self._total, self._count, trainer.model))

    def state(self) -> dict[str, np.ndarray]:
        total = {f"total/{name}": array for name, array in self._total.items()}
        return {"left": np.array(self._left), "count": np.array(self._count), **total}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._left, self._count, self._total = int(state["left"]), int(state["count"]), below(state, "total")


def below(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Those whose key begins with `name/`, without it."""
    return {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}


def mean_weights(total: dict[str, np.ndarray], count: int, model: BaseModel) -> dict[str, np.ndarray]:
    """Sums of tensors divided by their number, in the model's precision."""
    kind = np.float64 if model.spec.precision == "fp64" else np.float32
    return {name: (array / count).astype(kind) for name, array in total.items()}
