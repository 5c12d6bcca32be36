"""The position of a trainer, to a checkpoint and from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xfer.checkpoints.checkpoint import Checkpoint
from xfer.checkpoints.fit_progress import FitProgress
from xfer.checkpoints.manifest import TrainingState
from xfer.checkpoints.saving import save
from xfer.data import Skipped
from xfer.training.callback import TrainerView


def training_state(trainer: TrainerView) -> TrainingState:
    """The settings and the position, as a checkpoint stores them."""
    return TrainingState(
        settings=trainer.settings.document(),
        loss=trainer.stepper.update.loss,
        rates=trainer.rates,
        base_rates=trainer.base_rates,
        batch_size=trainer.batch_size,
        epoch=trainer.epoch,
        step=trainer.batch,
        fit=trainer.plan,
        micro_batch_size=trainer.stepper.micro_batch_size,
        auto_lr=trainer.auto_lr,
    )


def write_position(trainer: TrainerView, folder: Path, progress: FitProgress) -> None:
    """Write a checkpoint of the model, the state of the optimizer, the position and what the fit has recorded."""
    snapshot, slots = trainer.model.snapshot(), trainer.stepper.state()
    progress = replace(progress, extra=trainer.extra)
    save(snapshot, folder, training=trainer.state(), optimizer_state=slots, progress=progress)


def go_on_from(trainer: TrainerView, run: Checkpoint, state: TrainingState) -> FitProgress | None:
    """Bring a trainer with the run's settings to the position of the run; what its fit has recorded, if it says so."""
    trainer.stepper.load_state(run.optimizer_state())
    trainer.stepper.micro_batch_size = state.micro_batch_size
    trainer.rates, trainer.batch_size, trainer.auto_lr = state.rates, state.batch_size, state.auto_lr
    trainer.base_rates = state.base_rates or state.rates
    trainer.epoch, trainer.batch, trainer.plan = state.epoch, state.step, state.fit
    trainer.saved, progress = run.path, run.progress()
    if progress is None:
        trainer.history.read(run.path)
    else:
        trainer.history[:], trainer.extra = progress.history, progress.extra
        trainer.skipped = [Skipped(*bad) for bad in progress.skipped]
    return progress
