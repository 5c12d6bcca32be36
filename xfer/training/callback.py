"""The base class of callbacks, and what callbacks, loaders and the epoch loop see of a trainer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from xfer.checkpoints.manifest import FitPlan, TrainingState
from xfer.checkpoints.rotation import Checkpoints
from xfer.data.batch import Skipped
from xfer.features.cache import CacheUse, FeatureCache
from xfer.models.base_model import BaseModel
from xfer.models.stepper import Stepper
from xfer.runtime.distributed import DistributedContext
from xfer.specs.training_settings import TrainingSettings
from xfer.training.history import History, Row


class TrainerView(Protocol):
    """The attributes of a `Trainer` that callbacks may read; setting `stop` ends the fit after the epoch.

    Attributes:
        model: the model that is trained.
        settings: the trainer's settings.
        history: one row for each epoch of all fits.
        epoch, batch: the position: the next batch to train on.
        batch_size: images an update, of all processes together.
        plan: the fit that is under way, or was interrupted; None otherwise.
        stop: whether the fit ends after this epoch.
        rates, base_rates: learning rates by block, before the schedule, and those that fine-tuning lowers.
        auto_lr: of lr="auto", the rate that was found for the head, and "auto" before; None if a rate was given.
        distributed: the processes of the run; `distributed.rank` is 0 in the main process.
        cache: where outputs of frozen blocks are stored; None for nowhere.
        cached: what the cache was used for in this fit.
        checkpoints: where the run is saved while it trains.
        saved: the checkpoint that was written or resumed from last.
        skipped: unreadable training images of the last fit.
        extra: further JSON values that each checkpoint stores.
    """

    model: BaseModel
    settings: TrainingSettings
    history: History
    epoch: int
    batch: int
    batch_size: int
    plan: FitPlan | None
    stop: bool
    rates: dict[str, float]
    base_rates: dict[str, float]
    auto_lr: float | Literal["auto"] | None
    distributed: DistributedContext
    cache: FeatureCache | None
    cached: CacheUse | None
    checkpoints: Checkpoints | None
    saved: Path | None
    skipped: list[Skipped]
    extra: dict[str, Any]

    @property
    def stepper(self) -> Stepper:
        """What makes the updates."""

    def checkpoint(self) -> Path | None:
        """Save into `checkpoints` now."""

    def state(self) -> TrainingState:
        """The settings and the position, as a checkpoint stores them."""

    def rates_at(self, update: int, updates: int) -> dict[str, float]:
        """Learning rates by block at an update of a fit."""


class Callback:
    """Hooks into training; each may be left out. Setting `trainer.stop` ends the fit after the epoch."""

    shows_epochs = False  # whether it shows how far an epoch is, so that nothing else does

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def on_fit_begin(self, trainer: TrainerView, epochs: int) -> None:
        """Before the first of `epochs` epochs."""

    def on_epoch_begin(self, trainer: TrainerView, epoch: int, steps: int) -> None:
        """Before the first of `steps` batches of an epoch."""

    def on_model_change(self, trainer: TrainerView, new_head: bool) -> None:
        """Before the next update after another callback has changed the freeze plan, or replaced the head."""

    def on_step_end(self, trainer: TrainerView, step: int, loss: float) -> None:
        """After an update."""

    def on_epoch_end(self, trainer: TrainerView, row: Row) -> None:
        """After validation, with the epoch's row of the history."""

    def on_fit_end(self, trainer: TrainerView) -> None:
        """After the last epoch, also when the fit ended early or by an error."""

    def state(self) -> dict[str, np.ndarray]:
        """What a checkpoint in the middle of a fit must store, so that the fit can be continued exactly."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` returned; `on_fit_begin` was called before."""


def below(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The arrays whose key begins with `name/`, without that prefix."""
    return {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
