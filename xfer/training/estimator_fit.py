"""Fitting a scikit-learn estimator as the head: one pass for the features, then the estimator's own algorithm."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from xfer.data import Data
from xfer.errors import UsageError
from xfer.evaluation.metrics import classification_metrics
from xfer.features.cache import EXTRACTING
from xfer.runtime import progress
from xfer.specs.estimator import FittedEstimator
from xfer.specs.inputs import head_inputs
from xfer.training.callback import Callback, TrainerView
from xfer.training.history import History, Row
from xfer.training.loaders import loaders
from xfer.training.loop import validated
from xfer.training.opening import check_estimator


class EstimatorTrainerView(TrainerView, Protocol):
    """Beside `TrainerView`: the callbacks."""

    callbacks: list[Callback]


def fit_estimator(trainer: EstimatorTrainerView, data: Data, phase: str) -> History:
    """Fit the head on features of the training split; the backbone stays as it is.

    Raises:
        UsageError: mixing, which makes soft labels, lr="auto", or another option of training by gradients.
    """
    settings, model = trainer.settings, trainer.model
    if settings.mix != "none":
        raise UsageError(f"mix={settings.mix} makes soft labels, which an estimator does not take: leave it out")
    if trainer.auto_lr == "auto":
        raise UsageError('lr="auto" tests learning rates, and an estimator has none: leave it out')
    check_estimator(settings)
    assert model.estimator is not None
    started = time.perf_counter()
    train, validation = loaders(trainer, data, epochs=1)
    features, labels, _ = train.collect(
        lambda batch: head_inputs(model.stage(batch.inputs, "features"), batch.columns),
        trainer.epoch,
        doing=EXTRACTING,
    )
    x, y = features[labels >= 0], labels[labels >= 0]
    with progress.step(f"fitting {type(model.estimator.estimator).__name__} to {len(x):,} images"):
        fitted = FittedEstimator.fit(model.estimator.estimator, x, y, len(model.classes))
    fitted = trainer.distributed.gather(fitted, "fitted head")[0]
    model.estimator, trainer.skipped = fitted, list(train.skipped)
    trainer.epoch += 1
    loss = classification_metrics(fitted.logits(x), y, ["loss"])["loss"]
    row: Row = {"epoch": trainer.epoch, "phase": phase or "estimator", "loss": loss, "images": len(labels)}
    callbacks: Sequence[Callback] = trainer.callbacks
    row = validated(trainer, row, validation, callbacks, started)
    trainer.history.append(row)
    for callback in callbacks:
        callback.on_epoch_end(trainer, row)
    return History([row])
