"""The epoch loop, written once for all backends."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from xfer.checkpoints.fit_progress import FitProgress
from xfer.checkpoints.store import address_of
from xfer.data import Batch, Loader
from xfer.errors import DistributedError, TrainingError
from xfer.evaluation.evaluate import run as evaluate
from xfer.evaluation.metrics import EPOCH_METRICS
from xfer.runtime import progress
from xfer.runtime.signals import Interrupted
from xfer.training import diagnosis
from xfer.training.callback import Callback, TrainerView
from xfer.training.fit_state import Fit, step_seed
from xfer.training.history import History, Row
from xfer.training.monitor import MetricMonitor
from xfer.training.range_test import resolve_lr
from xfer.training.weight_averaging import averaged


def run(trainer: TrainerView, fit: Fit, before: FitProgress) -> History:
    """Train and validate, epoch by epoch, from the trainer's position to the end of the fit.

    Args:
        trainer: its position, history and `stop` are advanced; `plan` is None when the fit is finished.
        fit: the fit.
        before: what an earlier part of the fit has recorded.
    """
    rows = History()
    try:
        fit.restore(before)
        trainer.stop = before.stop
        resolve_lr(trainer, fit)
        while trainer.epoch < fit.last and not trainer.stop:
            row = _epoch(trainer, fit)
            rows.append(row)
            fit.each("on_epoch_end", trainer, row)
            _checkpoint_if_due(trainer, fit)
        trainer.plan = None
    except Interrupted as interrupted:
        interrupted.saved = trainer.checkpoint()
        raise
    except DistributedError as error:
        way = f"resume from {address_of(trainer.saved)}" if trainer.saved else "no checkpoint was saved: begin again"
        raise DistributedError(f"{error}; {way}") from None
    return rows


def validated(
    trainer: TrainerView, row: Row, validation: Loader | None, callbacks: Sequence[Callback], started: float
) -> Row:
    """The row of an epoch with the metrics of validation and the time since `started`."""
    if validation is not None:
        result = evaluate(trainer.model, validation, _metrics(callbacks), _doing(callbacks, "validating"))
        row |= {f"val_{name}": value for name, value in result.metrics.items()}
    row["seconds"] = time.perf_counter() - started
    # One row for all processes, so that all take the same decision by it.
    return trainer.distributed.gather(row, "end of an epoch")[0]


def _epoch(trainer: TrainerView, fit: Fit) -> Row:
    started, train, done = time.perf_counter(), fit.train, fit.done(trainer.epoch)
    fit.each("on_epoch_begin", trainer, trainer.epoch, len(train))
    for batch in train.epoch(trainer.epoch, trainer.batch, doing=_title(trainer, fit)):
        if trainer.distributed.size > 1:  # with the batch they have told each other of signals and of the time
            _checkpoint_if_due(trainer, fit)
        fit.tell_changes(trainer)
        rates = trainer.rates_at(done + batch.number, fit.updates)
        seed = step_seed(trainer.settings.seed, trainer.epoch, batch.number)
        loss = trainer.stepper.step(batch.inputs, batch.labels, rates, seed)
        if not math.isfinite(loss) and _left_out(trainer, fit, batch):
            continue
        if not math.isfinite(loss):
            why = diagnosis.of_step(trainer.stepper, batch, train.split.names, seed, trainer.distributed)
            raise TrainingError(f"bad numbers in epoch {trainer.epoch + 1}, batch {batch.number + 1}: {why}")
        fit.losses.append((loss, batch.labelled))
        fit.images += len(batch)
        progress.note(f"loss {loss:.4f}")
        trainer.batch = batch.number + 1
        fit.each("on_step_end", trainer, batch.number, loss)
        _checkpoint_if_due(trainer, fit, updated=True)
    trainer.batch = len(train)
    fit.tell_changes(trainer)
    if not fit.losses and train.size:
        raise TrainingError(f"epoch {trainer.epoch + 1} made no update: {diagnosis.LONE}")
    labelled = sum(number for _, number in fit.losses)
    mean = math.fsum(loss * number for loss, number in fit.losses) / max(labelled, 1)
    lr = trainer.rates_at(done + len(train) - 1, fit.updates)["head"]
    row: Row = {"epoch": trainer.epoch + 1, "phase": fit.plan.phase, "lr": lr, "loss": mean, "images": fit.images}
    with averaged(trainer.model, fit.callbacks if fit.validation is not None else ()), fit.watch.anywhere():
        row = validated(trainer, row, fit.validation, fit.callbacks, started)
    trainer.history.append(row)
    trainer.epoch, trainer.batch, fit.losses = trainer.epoch + 1, 0, []
    fit.images = 0
    return row


def _left_out(trainer: TrainerView, fit: Fit, batch: Batch) -> bool:
    """Whether a step has refused its update because of one image alone, and the epoch has others."""
    if not diagnosis.is_lone(trainer.stepper, batch, trainer.distributed):
        return False
    return fit.leave_out(batch, shown=trainer.distributed.rank == 0)


def _checkpoint_if_due(trainer: TrainerView, fit: Fit, *, updated: bool = False) -> None:
    """Write a checkpoint if it is time, and end the fit if a signal has come.

    Args:
        updated: an update was made, which may be one after which a checkpoint is wanted.
    """
    fit.watch.look()
    if trainer.checkpoints is None:
        return
    counted = updated and trainer.checkpoints.counted()
    if fit.watch.late() or counted:
        trainer.checkpoint()


def _title(trainer: TrainerView, fit: Fit) -> str:
    phase = f"{fit.plan.phase} " if fit.plan.phase else ""
    return _doing(fit.callbacks, f"{phase}epoch {trainer.epoch + 1}/{fit.last}")


def _doing(callbacks: Sequence[Callback], what: str) -> str:
    """What a pass is called; nothing where a callback shows it."""
    return "" if any(callback.shows_epochs for callback in callbacks) else what


def _metrics(callbacks: Sequence[Callback]) -> list[str]:
    """What to compute in validation: the metrics of every epoch, and those that are monitored."""
    monitored = (callback.metric() for callback in callbacks if isinstance(callback, MetricMonitor))
    return list(dict.fromkeys([*EPOCH_METRICS, *(name for name in monitored if name is not None)]))
