"""The data, the model and the loss that the settings of a run describe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xfer.data import Data, digits, manifest
from xfer.data import load as load_data
from xfer.data.columns import Columns
from xfer.errors import UsageError
from xfer.features.extract import extract
from xfer.features.resample import resample
from xfer.models.backend import get_backend
from xfer.models.base_model import BaseModel
from xfer.models.factory import load
from xfer.specs.estimator import by_name
from xfer.specs.head import EstimatorHead, Head
from xfer.specs.loss import LossSpec
from xfer.specs.settings import RunSettings


def read_data(config: RunSettings) -> Data:
    """The data set that a configuration names, split and limited as it says."""

    if config.data == "digits":
        data = digits(val=config.val, seed=config.seed)
    elif config.columns or config.tasks:
        data = manifest(
            config.data, columns=config.columns, tasks=config.tasks or None, val=config.val, seed=config.seed
        )
    else:
        data = load_data(config.data, val=config.val, seed=config.seed)
    if config.limit is None:
        return data
    splits: dict[str, Any] = {name: split.limit(config.limit, config.seed) for name, split in data.splits.items()}
    return replace(data, **splits)


def model_of(config: RunSettings, data: Data) -> BaseModel:
    """The model that a configuration describes, with a new head for the data's classes or tasks."""
    head: Head | EstimatorHead = Head(config.hidden, config.dropout, "batch" if config.hidden else None)
    if config.estimator:
        head = Head.sklearn(by_name(config.estimator, config.seed))
    return load(
        config.model,
        backend=config.backend,
        weights=None if config.weights == "none" else config.weights,
        classes=None if data.tasks else data.classes,
        head=None if data.tasks else head,
        tasks=[replace(task, head=head) for task in data.tasks if isinstance(head, Head)],
        columns=Columns.fit(data, config.imputer) if config.columns else None,
        device=config.device,
        precision=config.precision,
        compile=config.compile,
        deterministic=config.deterministic,
        image_size=config.image_size,
        missing_pixels=config.missing_pixels,
        decode=config.decode,
        seed=config.seed,
    )


def head_data(config: RunSettings, model: BaseModel, data: Data) -> Data:
    """What the head is trained on: images, or features that were resampled."""
    if config.resample == "none":
        return data
    if config.augment != "none" or config.augment_minority or config.mix != "none":
        raise UsageError(
            f"resample={config.resample} works on features of images as they are: leave out augment and mix"
        )
    features = extract(
        model, data, batch_size=config.images_per_pass, workers=config.workers, on_bad=config.on_bad, cache=config.cache
    )
    return resample(features, config.resample, seed=config.seed, backend=get_backend(model.backend))


def loss_of(config: RunSettings, data: Data) -> LossSpec:
    """The loss that the settings describe, its weights and priors counted on the training split."""
    return config.loss_spec(data.train.counts())
