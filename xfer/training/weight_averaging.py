"""Averages of weights over a fit: exponential moving and stochastic, and the mean of several sets of weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from xfer.errors import UsageError
from xfer.models.backend import get_backend
from xfer.models.base_model import BaseModel
from xfer.models.moving_average import MovingAverage
from xfer.training.callback import Callback, TrainerView, below
from xfer.training.history import Row


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

    def on_fit_begin(self, trainer: TrainerView, epochs: int) -> None:
        self._left, self._total, self._count = epochs, {}, 0

    def on_model_change(self, trainer: TrainerView, new_head: bool) -> None:
        if new_head:  # the mean would be that of two networks
            self._total, self._count = {}, 0
        elif self._count:  # what was frozen until now had these values in every epoch that was counted
            known = trainer.model.live_weights().items()
            self._total = {name: self._count * array.astype(np.float64) for name, array in known} | self._total

    def on_epoch_end(self, trainer: TrainerView, row: Row) -> None:
        if self._left <= self.epochs:
            weights = trainer.model.read(self._total) | trainer.model.live_weights()
            self._total = {name: self._total.get(name, 0.0) + a.astype(np.float64) for name, a in weights.items()}
            self._count += 1
        self._left -= 1

    def on_fit_end(self, trainer: TrainerView) -> None:
        if self._count and trainer.plan is None:
            put_back(trainer.model, mean_weights(self._total, self._count, trainer.model))

    def state(self) -> dict[str, np.ndarray]:
        total = {f"total/{name}": array for name, array in self._total.items()}
        return {"left": np.array(self._left), "count": np.array(self._count), **total}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._left, self._count, self._total = int(state["left"]), int(state["count"]), below(state, "total")


class ExponentialMovingAverage(Callback):
    """An exponential moving average of the weights after each update, which is validated, and with which a fit ends.

    It is that of torch's `AveragedModel` with `get_ema_multi_avg_fn(decay)` and `use_buffers=True`: without warm-up, of
    all that training changes, running statistics included. Training itself goes on with the weights as they are, which
    is what other callbacks see. It begins anew with each fit, and with a new head.

    Args:
        decay: above 0, below 1; the average is over the last 1 / (1 - decay) updates or so.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise UsageError(f"ema={decay}: give a decay between 0 and 1, such as 0.99")
        self.decay = decay
        self._average: MovingAverage | None = None
        self._updates = 0

    def on_fit_begin(self, trainer: TrainerView, epochs: int) -> None:
        self._begin(trainer.model)

    def on_model_change(self, trainer: TrainerView, new_head: bool) -> None:
        if new_head:
            self._begin(trainer.model)
        elif self._updates and self._average is not None:
            self._average.hold(trainer.model.live_names())  # which were constant until now, as was their average

    def on_step_end(self, trainer: TrainerView, step: int, loss: float) -> None:
        assert self._average is not None
        if self._updates:
            self._average.update()
        else:
            self._average.hold(trainer.model.live_names())
        self._updates += 1

    def on_fit_end(self, trainer: TrainerView) -> None:
        if self._updates and trainer.plan is None:  # of a fit that was broken off, the last weights are to go on with
            put_back(trainer.model, self.weights())

    def weights(self) -> dict[str, np.ndarray]:
        """The average by canonical name; empty before the first update."""
        return self._average.read() if self._updates and self._average is not None else {}

    def state(self) -> dict[str, np.ndarray]:
        return {"updates": np.array(self._updates), **{f"average/{n}": array for n, array in self.weights().items()}}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        assert self._average is not None
        self._updates = int(state["updates"])
        self._average.write(below(state, "average"))

    def _begin(self, model: BaseModel) -> None:
        self._average, self._updates = get_backend(model.backend).moving_average(model, self.decay), 0


@contextmanager
def averaged(model: BaseModel, callbacks: Iterable[Callback]) -> Iterator[None]:
    """A context in which the model has the moving average that one of the callbacks has, if one does."""
    averages = {
        n: a for each in callbacks if isinstance(each, ExponentialMovingAverage) for n, a in each.weights().items()
    }
    before = model.read(averages)
    model.write(averages)
    try:
        yield
    finally:
        model.write(before)


def put_back(model: BaseModel, weights: Mapping[str, np.ndarray]) -> None:
    """Set tensors that were trained, of which some may be frozen since; what else is frozen is verified as before."""
    with model.exclusively():
        model.write(weights)
        model.freezer.snapshot(weights)


def mean_weights(total: dict[str, np.ndarray], count: int, model: BaseModel) -> dict[str, np.ndarray]:
    """Sums of tensors divided by their number, in the types of the model's tensors."""
    kinds = {name: array.dtype for name, array in model.read(total).items()}
    return {name: (array / count).astype(kinds[name]) for name, array in total.items()}
