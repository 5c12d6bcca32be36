"""What a fit reads: rows of the cache in the place of images where that changes nothing, and loaders of either."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from xfer.errors import DataError, UsageError
from xfer.evaluation.loaders import evaluation_loader, relabelled
from xfer.features.boundary import boundary
from xfer.features.keys import Augmented
from xfer.models.precision import resolve_on
from xfer.runtime.distributed import SINGLE_PROCESS, DistributedContext
from xfer.training.batch_size import largest_batch
from xfer.training.processes import check_alike

if TYPE_CHECKING:
    from xfer.data import Budget, Data, Loader
    from xfer.training.trainer import Trainer


def loaders(trainer: Trainer, data: Data, epochs: int | None) -> tuple[Loader, Loader | None]:
    """Loaders of the training split and of the validation split, if there is one, for a fit of so many epochs.

    Args:
        trainer: whose options hold; its `cached` is set, and its `batch_size` where that is to be found.
        data: of images, or outputs of a block.
        epochs: how many; None is what the plan of an interrupted fit says.
    """
    from xfer.data import Budget

    _refuse_unlike(trainer, data)
    if epochs is None and (plan := trainer.plan) is not None:  # what is kept must be what the earlier part kept
        first, last = plan.first, plan.first + plan.epochs
    else:
        first, last = trainer.epoch, trainer.epoch + (epochs or 1)
    source = _kept(trainer, data, range(first, last))
    memory = Budget.of(trainer.image_memory) if last - first > 1 else None  # one epoch reads each image once
    if trainer.auto_batch and epochs is not None and trainer.model.estimator is None:
        trainer.batch_size = _fitting_batch(trainer, source)
    return _train_loader(trainer, source, memory), _validation_loader(trainer, source, memory)


def _refuse_unlike(trainer: Trainer, data: Data) -> None:
    """Refuse a fit that several processes would not make as one does."""
    if trainer.distributed.size == 1:
        return
    if data.train is not None:
        resolve_on(trainer.model, data.train)  # before each looks at images of its own
    if trainer.model.estimator is not None:  # the first process fits it, for all
        return
    if trainer.auto_batch:
        raise UsageError(
            f"batch_size='auto' looks at one process, and there are {trainer.distributed.size}: give a number"
        )
    splits = "".join(split.fingerprint() for split in data.splits.values())
    check_alike(trainer.distributed, trainer.model, {"data": splits, "options of training": repr(trainer.state())})


def _kept(trainer: Trainer, data: Data, epochs: range) -> Data:
    """The data with outputs of the frozen blocks in the place of images, if the cache has them or can make them.

    Those of validation are of use in any case: each epoch and the evaluation after it see the same images.
    """
    trainer.cached = None
    model, after = trainer.model, boundary(trainer.model)
    often = len(epochs) > 1 or model.estimator is not None  # another estimator reads the same rows
    augmented = any(str(a) != "none" for a in (trainer.augment, trainer.augment_minority) if a is not None)
    if trainer.cache is None or after is None or trainer.on_bad == "impute":
        return data
    if data.train is None or data.train.after is not None or not len(data.train):
        return data
    names = {"train", "val"} if often and not augmented and not trainer.mix else {"val"}
    views = None
    if augmented and trainer.cache_views:
        views = Augmented(_train_loader(trainer, data, distributed=SINGLE_PROCESS), epochs)
    if views is None and not names & data.splits.keys():
        return data
    try:
        found, trainer.cached = trainer.cache.data(
            model, data, after, trainer.batch_size, trainer.workers, names, views
        )
    except OSError as error:
        print(f"features are not kept, and every epoch makes them anew: {error}", file=sys.stderr)
        return data
    return found


def _fitting_batch(trainer: Trainer, data: Data) -> int:
    model, loader = trainer.model, _train_loader(trainer, data)
    first = next(iter(loader.epoch(trainer.epoch)))

    def step(images: int) -> None:
        taken = np.arange(images) % len(first.labels)
        trainer.stepper.gradients(first.inputs.take(taken), first.labels[taken])

    on_host, out_of_memory = model.spec.device == "cpu", model.backend.out_of_memory
    found = largest_batch(step, loader.size, on_host=on_host, out_of_memory=out_of_memory)
    free = ", by the memory that is free now: to repeat the run, give this number" if model.spec.deterministic else ""
    print(f"batch size: {found}{free}", file=sys.stderr)
    return found


def _train_loader(
    trainer: Trainer, data: Data, memory: Budget | None = None, distributed: DistributedContext | None = None
) -> Loader:
    from xfer.data import Loader
    from xfer.data.cached import AugmentedFeatures
    from xfer.data.sampling import quotas

    if data.train is None or len(data.train) == 0:
        raise DataError(f"{data.source} has no images to train on")
    split = relabelled(trainer.model, data, data.train)
    seen = isinstance(split.images, AugmentedFeatures)  # outputs of images that were augmented before
    size = int(quotas(split.labels, trainer.sampling).sum())
    return Loader(
        split,
        trainer.model.spec.preprocessing,
        batch_size=trainer.batch_size,
        seed=trainer.seed,
        shuffle=True,
        augment="none" if seen else trainer.augment,
        sampling=trainer.sampling,
        augment_minority=None if seen else trainer.augment_minority,
        mix=trainer.mix,
        views=trainer.cache_views,
        columns=trainer.model.columns,
        workers=trainer.workers,
        on_bad=trainer.on_bad,
        memory=memory,
        drop_last=size > trainer.batch_size and size % trainer.batch_size == 1,
        distributed=distributed or trainer.distributed,
    )


def _validation_loader(trainer: Trainer, data: Data, memory: Budget | None = None) -> Loader | None:
    if data.val is None:
        return None
    return evaluation_loader(
        trainer.model,
        data,
        batch_size=trainer.batch_size,
        workers=trainer.workers,
        on_bad=trainer.on_bad,
        memory=memory,
    )
