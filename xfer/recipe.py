"""The whole job from a configuration: load, freeze, train, fine-tune, evaluate, save."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfer.checkpoint import digest, write_atomically
from xfer.columns import Columns
from xfer.config import TrainConfig
from xfer.errors import CheckpointError, UnknownNameError, UsageError
from xfer.estimator import by_name
from xfer.evaluation import Evaluation
from xfer.features import extract
from xfer.head import EstimatorHead, Head
from xfer.imbalance import class_weights, log_prior
from xfer.loading import load
from xfer.measure import Phases
from xfer.numerics import LossSpec, OptimizerSpec, Schedule
from xfer.synthesis import resample
from xfer.task_evaluation import TasksEvaluation
from xfer.tuning import PseudoLabels, calibrate, pseudo_label, tune_thresholds

if TYPE_CHECKING:
    from xfer.data import Data
    from xfer.model import BaseModel
    from xfer.trainer import Trainer

METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"


@dataclass(frozen=True)
class Result:
    """A finished run: the trained model, its answers on the validation split, and what `metrics.json` says."""

    model: BaseModel
    evaluation: Evaluation | TasksEvaluation
    metrics: dict[str, Any]
    path: Path


def train(config: TrainConfig, *, progress: bool = True) -> Result:
    """Run a configuration from the data to the checkpoint.

    Writes into `config.out`: the checkpoint, `history.json` and `.csv`, `metrics.json`, and `predictions.csv` with the
    class probabilities of every validation image.

    Raises:
        XferError: in one line, whatever is wrong.
    """
    if config.epochs + config.fine_tune == 0:
        raise UsageError("epochs and fine_tune are both 0: give at least one epoch")
    out = writable(Path(config.out))
    phases = Phases()
    with phases.phase("data"):
        data = read_data(config)
    with phases.phase("load"):
        model = model_of(config, data)
        initial = digest(model.weights())
    trainer = _trainer(config, data, model, progress)
    if config.epochs:
        with phases.phase("head"):
            model.freeze()
            trainer.fit(_head_data(config, model, data), config.epochs, phase="head")
    guessed: PseudoLabels | None = None
    if config.pseudo_label is not None:
        with phases.phase("pseudo_label"):
            data, guessed = pseudo_label(
                model, data, threshold=config.pseudo_label, batch_size=config.images_a_pass, cache=config.cache
            )
            trainer.fit(_head_data(config, model, data), max(config.epochs, 1), phase="pseudo-label")
    if config.fine_tune:
        with phases.phase("fine_tune"):
            trainer.fine_tune(
                data,
                head_epochs=0,
                epochs=config.fine_tune,
                unfreeze=config.unfreeze,
                lr=config.fine_tune_lr,
                train_norm=config.weights == "none" if config.train_norm is None else config.train_norm,
            )
    with phases.phase("evaluate"):
        options: dict[str, Any] = {
            "batch_size": config.images_a_pass,
            "workers": config.workers,
            "on_bad": config.on_bad,
            "cache": config.cache,
        }
        if config.calibrate:
            calibrate(model, data, **options)
        if config.thresholds:
            tune_thresholds(model, data, config.thresholds, **options)
        evaluation = model.evaluate(data, **options)
    with phases.phase("save"):
        trainer.save(out)
    metrics = _metrics(config, data, model, trainer, evaluation, phases)
    if guessed is not None:
        metrics["data"]["pseudo_labels"] = asdict(guessed)
    metrics["parameters"]["initial_sha256"] = initial
    if trainer.world.rank == 0:
        evaluation.write_csv(out / PREDICTIONS)
        write_atomically(out / METRICS, json.dumps(metrics, indent=1).encode())
    return Result(model, evaluation, metrics, out)


def read_data(config: TrainConfig) -> Data:
    """The data set that a configuration names, split and limited as it says."""
    from xfer.data import digits, load, manifest

    if config.data == "digits":
        data = digits(val=config.val, seed=config.seed)
    elif config.columns or config.tasks:
        data = manifest(
            config.data, columns=config.columns, tasks=config.tasks or None, val=config.val, seed=config.seed
        )
    else:
        data = load(config.data, val=config.val, seed=config.seed)
    if config.limit is None:
        return data
    splits: dict[str, Any] = {name: split.limit(config.limit, config.seed) for name, split in data.splits.items()}
    return replace(data, **splits)


def model_of(config: TrainConfig, data: Data) -> BaseModel:
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
        image_size=config.image_size,
        missing_pixels=config.missing_pixels,
        decode=config.decode,
        seed=config.seed,
    )


def _head_data(config: TrainConfig, model: BaseModel, data: Data) -> Data:
    """What the head is trained on: images, or features that were resampled."""
    if config.resample == "none":
        return data
    if config.augment != "none" or config.augment_minority or config.mix != "none":
        raise UsageError(
            f"resample={config.resample} works on features of images as they are: leave out augment and mix"
        )
    features = extract(
        model, data, batch_size=config.images_a_pass, workers=config.workers, on_bad=config.on_bad, cache=config.cache
    )
    return resample(features, config.resample, seed=config.seed, backend=model.backend)


def _trainer(config: TrainConfig, data: Data, model: BaseModel, progress: bool) -> Trainer:
    from xfer.callbacks import TensorBoard
    from xfer.trainer import Trainer

    return Trainer(
        model,
        lr=config.lr,
        optimizer=OptimizerSpec(
            config.optimizer, momentum=config.momentum, nesterov=config.nesterov, weight_decay=config.weight_decay
        ),
        schedule=Schedule(config.schedule, config.warmup),
        loss=None if data.tasks else loss_of(config, data),
        clip_norm=config.clip_norm,
        batch_size=config.batch_size,
        seed=config.seed,
        augment=config.augment,
        sampling=config.sampling,
        augment_minority=config.augment_minority,
        mix=config.mix,
        workers=config.workers,
        on_bad=config.on_bad,
        early_stopping=config.early_stopping,
        monitor=config.monitor,
        cache=config.cache,
        image_memory=config.image_memory,
        cache_views=config.cache_views,
        swa=config.swa,
        callbacks=[TensorBoard(Path(config.out, "tensorboard"))] if config.tensorboard else [],
        progress=progress,
    )


def loss_of(config: TrainConfig, data: Data) -> LossSpec:
    """The loss that a description asks for, its weights and priors counted on the training split."""
    counts = data.train.counts()
    sizes, given = list(counts.values()), config.class_weights
    if isinstance(given, str):
        weights = None if given == "none" else class_weights(sizes, given)  # type: ignore[arg-type]
    else:
        for name in given:
            if name not in counts:
                raise UnknownNameError("class in class_weights", name, counts)
        weights = tuple(given.get(name, 1.0) for name in counts)
    return LossSpec(
        config.label_smoothing,
        weights,
        focal=config.focal if config.loss == "focal" else 0.0,
        adjustment=log_prior(sizes) if config.loss == "logit-adjusted" else None,
    )


def _metrics(
    config: TrainConfig, data: Data, model: BaseModel, trainer: Trainer, evaluation: Evaluation, phases: Phases
) -> dict[str, Any]:
    report = model.freezer.report()
    return {
        "val": evaluation.metrics,
        "epochs": list(trainer.history),
        "seconds": {"total": sum(phases.seconds.values()), **phases.seconds},
        "peak_memory_bytes": phases.peak_memory,
        "peak_device_memory_bytes": model.backend.peak_memory(model.spec.device),
        "backend": model.backend.name,
        "versions": model.backend.versions(),
        "device": model.spec.device,
        "precision": model.spec.precision,
        "model": model.name,
        "classes": list(model.classes),
        "parameters": {"trainable": report.trainable, "frozen": report.frozen},
        "data": {
            "source": data.source,
            "train": len(data.train),
            "val": len(evaluation.names),
            "counts": _counts(data, trainer, evaluation),
            "sha256": {name: split.fingerprint() for name, split in data.splits.items()},
            "skipped": [asdict(bad) for bad in (*trainer.skipped, *evaluation.skipped)],
        },
        "config": config.model_dump(mode="json"),
    }


def _counts(data: Data, trainer: Trainer, evaluation: Evaluation | TasksEvaluation) -> dict[str, dict[str, int]]:
    """What became of the images of train and of the split that was evaluated; the parts add up to what is listed.

    Unlabelled images of train are used: they are in its batches and count in no loss.
    """
    judged = next(split for split in (data.val, data.test, data.train) if split is not None)
    found = {}
    for name, split, skipped in (("train", data.train, trainer.skipped), ("val", judged, evaluation.skipped)):
        bad = [each for each in skipped if not each.imputed]
        without = int((~split.labelled).sum())
        found[name] = {
            "listed": len(split),
            "used": len(split) - len(bad) if name == "train" else len(evaluation.names),
            "unreadable": len(bad),
            "imputed": len(skipped) - len(bad),
            "unlabelled": without,
        }
    return found


def writable(folder: Path) -> Path:
    """The folder, made if need be: find out before the work, not after, that its result could not be saved.

    Raises:
        CheckpointError: it cannot be written into.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process of the run may have been faster
    except OSError as error:
        raise CheckpointError(f"cannot write into {folder}: {error.strerror}; give another --out") from None
    return folder
