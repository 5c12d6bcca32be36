"""The learning-rate range test (Smith 2017, arXiv:1506.01186), which lr="auto" makes before the first fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import Any

from xfer.data import Batch, Data, Loader
from xfer.errors import TrainingError, UsageError
from xfer.models.base_model import BaseModel
from xfer.runtime import html, progress
from xfer.runtime.curves import Curve, chart
from xfer.specs.training_settings import TrainingSettings
from xfer.training import diagnosis
from xfer.training.callback import TrainerView
from xfer.training.fit_state import Fit, step_seed
from xfer.training.loaders import loaders
from xfer.training.opening import prepare_fit
from xfer.training.weight_averaging import put_back

UPDATES, LOW, HIGH = 100, 1e-7, 10.0  # of fastai's lr_find, and its constants below
LEAST, MOST = 1e-6, 1.0  # of a suggestion
RANGE_TEST = "range_test"  # its key in `Trainer.extra` and in metrics.json
_SMOOTHING = 0.98
_DIVERGED = 4.0
_FIRST, _LAST = 0.1, 5  # what the suggestion leaves out: a share of the updates, and a number of points


@dataclass(frozen=True)
class RangeTest:
    """Losses at learning rates that rise exponentially from update to update.

    Args:
        lr: the suggestion: the rate in the middle of the longest valley of the smoothed losses, between `LEAST` and
            `MOST`; of the head, where rates differ by block.
        rates: of each update.
        losses: of each batch, before its update.
        smoothed: exponential means of the losses, without the bias towards zero of the first ones.
        diverged: whether the test ended early, because the loss exceeded four times its minimum or was not finite.
    """

    lr: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    diverged: bool

    @classmethod
    def of(cls, rates: Sequence[float], losses: Sequence[float], *, updates: int, diverged: bool) -> RangeTest:
        """The result of a test of at most so many updates."""
        smoothed = smooth(losses)
        lr = min(max(suggestion(rates, smoothed, updates), LEAST), MOST)
        return cls(lr, tuple(rates), tuple(losses), tuple(smoothed), diverged)

    def __repr__(self) -> str:
        end = "diverged" if self.diverged else "did not diverge"
        return f"RangeTest(lr={self.lr:.3g}: {len(self.rates)} updates, {end} up to {self.rates[-1]:.3g})"

    def _repr_html_(self) -> str:
        points = [(math.log10(rate), loss) for rate, loss in zip(self.rates, self.smoothed, strict=True)]
        title = f"suggested learning rate: {self.lr:.3g}"
        return html.view(
            f"<p>{html.text(title)}</p>", chart(title, [Curve("smoothed loss", points)], "log10 of the learning rate")
        )

    def document(self) -> dict[str, Any]:
        """The values as JSON has them."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def smooth(losses: Sequence[float]) -> list[float]:
    """Exponential means (factor 0.98), each divided by the sum of its weights, as fastai's `AvgSmoothLoss`."""
    mean, found = 0.0, []
    for count, loss in enumerate(losses, 1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        found.append(mean / (1 - _SMOOTHING**count))
    return found


def suggestion(rates: Sequence[float], smoothed: Sequence[float], updates: int) -> float:
    """fastai's suggestion "valley" (fastai/callback/schedule.py): the middle of the longest run of falling losses.

    The first tenth of the updates and the last five points are left out where that leaves any.

    Args:
        rates, smoothed: as long as each other, at least 1.
        updates: how many a test has that does not diverge.
    """
    kept = slice(int(_FIRST * updates), len(rates) - _LAST)
    if not smoothed[kept]:
        kept = slice(None)
    return rates[kept][valley(smoothed[kept])]


def valley(losses: Sequence[float]) -> int:
    """The index in the middle of the longest falling subsequence of losses, as fastai's `valley` computes it."""
    lengths = [1] * len(losses)
    for i, loss in enumerate(losses):
        lengths[i] = 1 + max((lengths[j] for j in range(i) if losses[j] > loss), default=0)
    end = lengths.index(max(lengths))
    start = end - lengths[end] if lengths[end] > 1 else 0
    third = (end - start) / 3
    return max(start + int(third) + int(third / 2), 0)


def check_rates(model: BaseModel, settings: TrainingSettings, updates: int, low: float, high: float) -> None:
    """Refuse a test of nothing: of an estimator, of a model that is frozen, of too few updates, of rates out of order.

    Raises:
        UsageError: in one line, what is wrong.
    """
    if model.estimator is not None:
        raise UsageError("the head is an estimator, which has no learning rate: test a Head instead")
    prepare_fit(model, settings, None, 1)
    if updates < 10 or not 0 < low < high < math.inf:
        raise UsageError(f"updates={updates}, low={low}, high={high}: give at least 10, and 0 < low < high")


def find_lr(trainer: TrainerView, data: Data, updates: int, low: float, high: float) -> RangeTest:
    """Make a range test from the trainer's position; nothing of it or of the model changes."""
    kept = (trainer.model.trained_on, trainer.cached, trainer.batch_size)
    trainer.model.trained_on = deepcopy(kept[0])
    try:
        train, _ = loaders(trainer, data, 2)  # of two epochs, so that outputs of frozen blocks are cached
        return sweep(trainer, train, range(trainer.epoch, trainer.epoch + 2), updates, low, high)
    finally:
        trainer.model.trained_on, trainer.cached, trainer.batch_size = kept


def resolve_lr(trainer: TrainerView, fit: Fit) -> None:
    """Find the rate of lr="auto", if it is still to be found, on the batches of the fit that begins."""
    if trainer.auto_lr != "auto":
        return
    found = sweep(trainer, fit.train, range(fit.plan.first, fit.last), watched=fit)
    factor = found.lr / trainer.rates["head"]
    trainer.auto_lr = found.lr
    trainer.rates, trainer.base_rates = (
        {block: rate * factor for block, rate in rates.items()} for rates in (trainer.rates, trainer.base_rates)
    )
    trainer.extra[RANGE_TEST] = found.document()
    if trainer.distributed.rank == 0:
        progress.say(f"learning rate: {found.lr:.3g}")
    trainer.checkpoint()


def sweep(
    trainer: TrainerView,
    train: Loader,
    epochs: range,
    updates: int = UPDATES,
    low: float = LOW,
    high: float = HIGH,
    *,
    watched: Fit | None = None,
) -> RangeTest:
    """Updates at rates that rise exponentially; afterwards weights and the optimizer's state are as they were.

    Args:
        trainer: whose rates by block keep their ratios.
        train: the batches.
        epochs: of which epochs; they are repeated where they have fewer batches than `updates`.
        updates: how many, if the loss does not diverge before.
        low, high: rate of the head in the first update and in the last.
        watched: the fit whose signals end the test.

    Raises:
        TrainingError: the loss of the first batch, or its gradient, is not finite.
    """
    rates, losses, best, diverged = list[float](), list[float](), math.inf, False
    with _put_back(trainer), progress.work("testing learning rates", updates, "updates") as report:
        for epoch, batch in islice(_batches(train, epochs), updates):
            rate = low * (high / low) ** (len(rates) / (updates - 1))
            by_block = {block: rate * each / trainer.rates["head"] for block, each in trainer.rates.items()}
            seed = step_seed(trainer.settings.seed, epoch, batch.number)
            loss = trainer.stepper.step(batch.inputs, batch.labels, by_block, seed)
            if watched is not None:
                watched.watch.look()
            if not math.isfinite(loss):
                if diagnosis.is_lone(trainer.stepper, batch, trainer.distributed):
                    continue
                diverged = True
                if losses:
                    break
                why = diagnosis.of_step(trainer.stepper, batch, train.split.names, seed, trainer.distributed)
                raise TrainingError(f"bad numbers in the first batch of the test of learning rates: {why}")
            rates.append(rate)
            losses.append(loss)
            report.advance()
            smoothed = smooth(losses)[-1]
            best = min(best, smoothed)
            if smoothed > _DIVERGED * best:
                diverged = True
                break
    if not losses:
        raise TrainingError(f"the test of learning rates made no update: {diagnosis.LONE}")
    return RangeTest.of(rates, losses, updates=updates, diverged=diverged)


def _batches(train: Loader, epochs: range) -> Iterator[tuple[int, Batch]]:
    """The batches of epochs, over and over, with their epoch."""
    for epoch in cycle(epochs):
        for batch in train.epoch(epoch):
            yield epoch, batch


@contextmanager
def _put_back(trainer: TrainerView) -> Iterator[None]:
    """Weights, statistics and the optimizer's state as they were."""
    weights, slots = trainer.model.live_weights(), trainer.stepper.state()
    try:
        yield
    finally:
        put_back(trainer.model, weights)
        trainer.stepper.load_state(slots)
