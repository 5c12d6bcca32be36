"""The loaders of a fit: of images, or of cached features where the result is the same."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from xfer.data import Augment, Budget, Data, Loader, Split
from xfer.data.cached import AugmentedFeatures
from xfer.data.columns import Columns
from xfer.data.sampling import quotas
from xfer.errors import DataError, UsageError
from xfer.evaluation.loaders import evaluation_loader, relabelled
from xfer.features.boundary import boundary
from xfer.features.keys import Augmented
from xfer.runtime import progress
from xfer.runtime.distributed import SINGLE_PROCESS, DistributedContext
from xfer.specs.numerics import BUFFER, Numerics
from xfer.specs.preprocessing import Preprocessing
from xfer.specs.training_settings import TrainingSettings
from xfer.training.batch_size import largest_batch
from xfer.training.callback import TrainerView
from xfer.training.processes import check_alike


def loaders(trainer: TrainerView, data: Data, epochs: int | None) -> tuple[Loader, Loader | None]:
    """Loaders of the training split and of the validation split, if there is one, for a fit of so many epochs.

    Args:
        trainer: its `cached` is set, and its `batch_size` if the settings say "auto".
        data: images, or outputs of a block.
        epochs: how many; None continues the interrupted fit.
    """
    _refuse_unlike(trainer, data)
    trainer.model.trained_on.add(data)
    if epochs is None and (plan := trainer.plan) is not None:  # the same cached features as in its earlier part
        first, last = plan.first, plan.first + plan.epochs
    else:
        first, last = trainer.epoch, trainer.epoch + (epochs or 1)
    source = _with_cached_features(trainer, data, range(first, last))
    memory = Budget.of(trainer.settings.image_memory) if last - first > 1 else None  # one epoch reads each image once
    if trainer.settings.batch_size == "auto" and epochs is not None and trainer.model.estimator is None:
        trainer.batch_size = _fitting_batch(trainer, source)
    return _train_loader(trainer, source, memory), _validation_loader(trainer, source, memory)


def _refuse_unlike(trainer: TrainerView, data: Data) -> None:
    """Refuse a fit that would not be the same in several processes as in one."""
    if trainer.distributed.size == 1:
        return
    trainer.model.spec.numerics.check_own("trained in several processes")
    if data.train is not None:
        trainer.model.resolve_precision_on(data.train)  # on the same images in all processes
    if trainer.model.estimator is not None:  # the first process fits it, for all
        return
    if trainer.settings.batch_size == "auto":
        raise UsageError(
            f"batch_size='auto' measures one process, and there are {trainer.distributed.size}: give a number"
        )
    splits = "".join(split.fingerprint() for split in data.splits.values())
    state = replace(trainer.state(), settings=trainer.settings.deciding())
    check_alike(trainer.distributed, trainer.model, {"data": splits, "options of training": repr(asdict(state))})


def _with_cached_features(trainer: TrainerView, data: Data, epochs: range) -> Data:
    """The data with cached outputs of the frozen blocks in the place of images, where the result is the same.

    Validation images are always cached: each epoch and the evaluation after it use the same ones.
    """
    trainer.cached = None
    model, after, settings = trainer.model, boundary(trainer.model), trainer.settings
    often = len(epochs) > 1 or model.estimator is not None  # another estimator uses the same features
    augmented = any(str(Augment.parse(a)) != "none" for a in (settings.augment, settings.augment_minority))
    if trainer.cache is None or after is None or trainer.settings.on_bad == "impute":
        return data
    if data.train is None or data.train.after is not None or not len(data.train):
        return data
    names = {"train", "val"} if often and not augmented and settings.mix == "none" else {"val"}
    views = None
    if augmented and trainer.settings.cache_views:
        views = Augmented(_train_loader(trainer, data, distributed=SINGLE_PROCESS), epochs)
    if views is None and not names & data.splits.keys():
        return data
    try:
        found, trainer.cached = trainer.cache.data(
            model, data, after, trainer.batch_size, trainer.settings.workers, names, views
        )
    except OSError as error:
        progress.say(f"features cannot be cached and are computed in every epoch: {error}")
        return data
    return found


def _fitting_batch(trainer: TrainerView, data: Data) -> int:
    model, loader = trainer.model, _train_loader(trainer, data)
    first = next(iter(loader.epoch(trainer.epoch)))

    def step(images: int) -> None:
        taken = np.arange(images) % len(first.labels)
        trainer.stepper.gradients(first.inputs.take(taken), first.labels[taken])

    on_host, out_of_memory = model.spec.device == "cpu", model.backend.out_of_memory
    with progress.step("measuring the memory of a batch"):
        found = largest_batch(step, loader.size, on_host=on_host, out_of_memory=out_of_memory)
    free = ", for the memory that is free now: to repeat the run, give this number" if model.spec.deterministic else ""
    progress.say(f"batch size: {found}{free}")
    return found


def _train_loader(
    trainer: TrainerView, data: Data, memory: Budget | None = None, distributed: DistributedContext | None = None
) -> Loader:
    if data.train is None or len(data.train) == 0:
        raise DataError(f"{data.source} has no images to train on")
    return training_loader(
        relabelled(trainer.model, data, data.train),
        trainer.model.spec.preprocessing,
        trainer.settings,
        batch_size=trainer.batch_size,
        columns=trainer.model.columns,
        memory=memory,
        distributed=distributed or trainer.distributed,
        numerics=trainer.model.spec.numerics,
    )


def training_loader(
    split: Split,
    preprocessing: Preprocessing,
    settings: TrainingSettings,
    *,
    batch_size: int,
    columns: Columns | None = None,
    memory: Budget | None = None,
    distributed: DistributedContext = SINGLE_PROCESS,
    numerics: Numerics | None = None,
) -> Loader:
    """The batches of a training split as the settings say; what a fit trains on, and what `xfer inspect` shows."""
    seen = isinstance(split.images, AugmentedFeatures)  # outputs of images that were augmented before
    size, habits = int(quotas(split.labels, settings.sampling).sum()), numerics or Numerics()
    rest = size % batch_size if size > batch_size else 0
    return Loader(
        split,
        preprocessing,
        batch_size=batch_size,
        seed=settings.seed,
        shuffle=True,
        buffer=BUFFER * batch_size if habits.shuffle == "buffer" else None,
        augment="none" if seen else settings.augment,
        sampling=settings.sampling,
        augment_minority=None if seen else settings.augment_minority,
        mix=settings.mix,
        views=settings.cache_views,
        columns=columns,
        workers=settings.workers,
        on_bad=settings.on_bad,
        memory=memory,
        drop_last=rest > 0 if habits.last_batch == "drop" else rest == 1,
        distributed=distributed,
    )


def _validation_loader(trainer: TrainerView, data: Data, memory: Budget | None = None) -> Loader | None:
    if data.val is None:
        return None
    return evaluation_loader(
        trainer.model,
        data,
        batch_size=trainer.batch_size,
        workers=trainer.settings.workers,
        on_bad=trainer.settings.on_bad,
        memory=memory,
    )
