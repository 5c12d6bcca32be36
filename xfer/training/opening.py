"""The settings of a trainer, checked: those that are given, and those of a run that is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from xfer.checkpoints.checkpoint import Checkpoint, open_checkpoint
from xfer.checkpoints.manifest import FitPlan, TrainingState
from xfer.checkpoints.rotation import latest_checkpoint
from xfer.checkpoints.store import fetch_run, run_folder
from xfer.data import Augment, Budget, Mix
from xfer.errors import CheckpointError, UsageError
from xfer.models.base_model import BaseModel
from xfer.models.drop_rates import DropRates
from xfer.specs.option import about
from xfer.specs.training_settings import TrainingSettings
from xfer.training.trackers import check_trackers

S = TypeVar("S", bound=TrainingSettings)


def open_run(run: str | Path, settings: type[S], options: Mapping[str, Any]) -> tuple[Checkpoint, TrainingState, S]:
    """The checkpoint of a run, its training state and its settings.

    Args:
        run: a folder that `Trainer.save` wrote; or one with checkpoints, of which the newest undamaged one is taken.
        settings: their class.
        options: settings that are to replace those of the run.

    Raises:
        CheckpointError: the run is damaged, or has no training state. UsageError: an option that must stay.
    """
    fetch_run(run)
    opened = latest_checkpoint(run_folder(run)) or open_checkpoint(run, training=True)
    state = opened.manifest.training
    if state is None:
        raise CheckpointError(f"{run} holds a model but no training state: save it with trainer.save()")
    try:
        stored = settings.of(state.settings)
    except UsageError as error:
        raise CheckpointError(f"{opened.path} is damaged: {error}") from None
    for name in options.keys() & settings.model_fields.keys():
        if not about(settings.model_fields[name]).on_resume:
            raise UsageError(f"{name} of a resumed run is that of the run: leave it out")
    return opened, state, stored


def check_settings(settings: TrainingSettings) -> None:
    """Refuse augmentations, mixing, sizes, constants and trackers that cannot be, before anything is read."""
    settings.optimizer_spec, settings.schedule_spec  # noqa: B018 - each checks its constants
    Augment.parse(settings.augment)
    Augment.parse(settings.augment_minority)
    Budget.of(settings.image_memory)
    check_trackers(settings.track)
    if settings.ema is not None and settings.swa is not None:
        raise UsageError(f"ema={settings.ema} and swa={settings.swa} are two averages of the weights: leave one out")
    if Mix.parse(settings.mix) and settings.cache_views is not None:
        raise UsageError(
            f"cache_views={settings.cache_views}: mix={settings.mix} blends other images each epoch; leave one out"
        )


def check_estimator(settings: TrainingSettings) -> None:
    """Refuse what changes how a head is trained by gradients, where the head is an estimator that has none."""
    for name in ("layer_decay", "l2_sp", "ema", "drop_path", "backbone_dropout"):
        if (value := getattr(settings, name)) is not None:
            raise UsageError(f"{name}={value} is for training by gradients, which an estimator has not: leave it out")


def prepare_fit(model: BaseModel, settings: TrainingSettings, plan: FitPlan | None, epochs: int | None) -> None:
    """Refuse a fit that would train nothing, or a number of epochs that makes no sense; set the model's drop rates.

    Args:
        model: what is to be trained.
        settings: of its trainer.
        plan: the fit that was interrupted, if one was.
        epochs: how many, or None to finish the interrupted fit.
    """
    if epochs is None and plan is None and model.estimator is None:
        raise UsageError("no fit was interrupted: say for how many epochs to train")
    if epochs is not None and epochs < 1:
        raise UsageError(f"epochs={epochs}: give at least 1")
    if model.estimator is None and not model.trainable & model.parameters.keys():
        raise UsageError("nothing is trainable: call model.unfreeze() first")
    if model.estimator is None:
        model.set_drop_rates(DropRates(settings.drop_path, settings.backbone_dropout))


def check_fine_tune(model: BaseModel, head_epochs: int, epochs: int) -> None:
    """Refuse to fine-tune blocks of a model whose head has no gradient, or that has adapters in their place."""
    if model.estimator is not None:
        raise UsageError("the head is an estimator, which has no gradient: fine-tune a Head instead")
    if model.spec.lora is not None:
        raise UsageError("the model has LoRA adapters: call fit, which trains them, or merge_lora() before")
    if head_epochs < 0 or epochs < 1:
        raise UsageError(f"head_epochs={head_epochs}, epochs={epochs}: give 0 or more, and at least 1")
