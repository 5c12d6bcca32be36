"""The data and the model that the settings of a run describe, and what is checked before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xfer.data import Data, digits, manifest
from xfer.data import load as load_data
from xfer.data.columns import Columns
from xfer.data.corrections import corrected
from xfer.errors import UnknownNameError, UsageError
from xfer.evaluation.metrics import metric
from xfer.features.extract import extract
from xfer.features.resample import METHODS, resample
from xfer.models.backend import Backend, get_backend
from xfer.models.base_model import BaseModel
from xfer.models.factory import load
from xfer.specs.estimator import by_name
from xfer.specs.head import EstimatorHead, Head
from xfer.specs.numerics import Numerics
from xfer.specs.settings import RunSettings
from xfer.training.opening import check_estimator, check_settings
from xfer.workflows.ensemble import Ensemble


def check_run(config: RunSettings) -> None:
    """Refuse what a run could only fail at later, before anything is read or trained.

    Raises:
        UsageError: in one line, what does not go together, or has no meaning.
    """
    if config.epochs + config.fine_tune == 0:
        raise UsageError("epochs and fine_tune are both 0: give at least one epoch")
    check_settings(config)
    if config.monitor != "loss" and not config.tasks:  # of several tasks, names begin with the task's
        metric(config.monitor.removeprefix("val_"))
        if not config.monitor.startswith("val_"):
            raise UsageError(f"monitor={config.monitor}: give 'loss', or 'val_{config.monitor}'")
    if config.thresholds is not None:
        metric(config.thresholds)
    if config.resample != "none":
        if config.resample not in METHODS:
            raise UnknownNameError("resampling method", config.resample, METHODS)
        if config.augment != "none" or config.augment_minority or config.mix != "none":
            raise UsageError(
                f"resample={config.resample} works on features of images as they are: leave out augment and mix"
            )
    check_adapters(config)
    if config.estimator and config.fine_tune:
        raise UsageError(f"estimator={config.estimator} has no gradient: leave out fine_tune")
    if config.estimator and config.mix != "none":
        raise UsageError(f"mix={config.mix} makes soft labels, which an estimator does not take: leave it out")
    if config.estimator:
        check_estimator(config)
    if config.estimator and config.lr == "auto":
        raise UsageError(f"estimator={config.estimator} has no learning rate: leave out lr=auto")
    if config.lr == "auto" and not config.epochs and config.pseudo_label is None and config.fine_tune_lr is not None:
        raise UsageError(f"lr=auto finds a rate that fine_tune_lr={config.fine_tune_lr} replaces: leave one out")
    if config.l2_sp is not None and config.weights == "none":
        raise UsageError(f"l2_sp={config.l2_sp} decays towards pretrained weights, and weights is none: leave one out")
    for name in ("calibrate", "thresholds", "pseudo_label", "estimator"):
        if config.tasks and getattr(config, name):
            raise UsageError(f"{name} is for one task, and there are {len(config.tasks)} in tasks: leave one out")


def check_adapters(config: RunSettings) -> None:
    """Refuse what does not go together with adapters, or with biases that are trained."""
    if config.lora is None and (config.lora_alpha is not None or config.lora_layers):
        raise UsageError("lora_alpha and lora_layers say which adapters: give the rank as lora, too")
    named = "lora" if config.lora is not None else "train=biases"
    if config.lora is None and config.train == "head":
        return
    for name, given in (("fine_tune", config.fine_tune), ("estimator", config.estimator)):
        if given:
            raise UsageError(f"{named} trains in the epochs of the head, which must be a network: leave out {name}")
    if config.resample != "none":
        raise UsageError(f"{named} trains below the head, and resample={config.resample} makes features: leave one out")


def read_data(config: RunSettings, *, hold_out: bool = True) -> Data:
    """The data set that a configuration names, split, limited and corrected as it says, or with nothing held out."""
    val = config.val if hold_out else 0.0
    if config.data == "digits":
        data = digits(val=config.val, seed=config.seed)
    elif config.columns or config.tasks:
        data = manifest(config.data, columns=config.columns, tasks=config.tasks or None, val=val, seed=config.seed)
    else:
        data = load_data(config.data, val=val, seed=config.seed)
    if config.limit is None:
        return corrected(data, config.corrections)
    splits: dict[str, Any] = {name: split.limit(config.limit, config.seed) for name, split in data.splits.items()}
    return corrected(replace(data, **splits), config.corrections, known=data)


def table_options(model: BaseModel | Ensemble) -> dict[str, Any]:
    """The options with which a table must be read if the model uses columns or has several tasks."""
    if isinstance(model, Ensemble) or not (model.columns or model.spec.tasks):
        return {}
    columns = model.columns.names if model.columns else ()
    return {"columns": columns, "tasks": {task.name: task.kind for task in model.spec.tasks}}


def model_of(
    config: RunSettings, data: Data, numerics: Numerics | None = None, backend: Backend | None = None
) -> BaseModel:
    """The model that a configuration describes, with a new head for the data's classes or tasks.

    Args:
        config: its settings.
        data: whose classes.
        numerics: as in `xfer.load`.
        backend: in the place of the one that the settings name.
    """
    head: Head | EstimatorHead = Head(config.hidden, config.dropout, "batch" if config.hidden else None)
    if config.estimator:
        head = Head.sklearn(by_name(config.estimator, config.seed))
    model = load(
        config.model,
        backend=backend or config.backend,
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
        numerics=numerics,
    )
    if config.lora is not None:
        model.add_lora(config.lora, config.lora_alpha, config.lora_layers, seed=config.seed)
    return model


def head_data(config: RunSettings, model: BaseModel, data: Data) -> Data:
    """What the head is trained on: images, or features that were resampled."""
    if config.resample == "none":
        return data
    features = extract(
        model, data, batch_size=config.images_per_pass, workers=config.workers, on_bad=config.on_bad, cache=config.cache
    )
    return resample(features, config.resample, seed=config.seed, backend=get_backend(model.backend))


def passes(config: RunSettings) -> dict[str, Any]:
    """How an evaluation reads images, as the settings say."""
    return {
        "batch_size": config.images_per_pass,
        "workers": config.workers,
        "on_bad": config.on_bad,
        "cache": config.cache,
    }
