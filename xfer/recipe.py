"""The whole job from a configuration: load, freeze, train, fine-tune, evaluate, save."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfer.checkpoint import Checkpoint, digest, write_atomically
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
from xfer.resumption import Clock, check_data, differing, fingerprints, interrupted, known, relabelled, resumable, say
from xfer.rotation import FOLDER, Checkpoints, kept
from xfer.synthesis import resample
from xfer.task_evaluation import TasksEvaluation
from xfer.tuning import calibrate, pseudo_label, tune_thresholds

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


def train(config: TrainConfig, *, progress: bool = True, resume: bool = False) -> Result:
    """Run a configuration from the data to the checkpoint.

    Writes into `config.out`: the checkpoint, `history.json` and `.csv`, `metrics.json`, and `predictions.csv` with the
    class probabilities of every validation image. While it trains, `checkpoints` in it holds the last two; a run that
    was killed goes on from there when it is started again.

    Args:
        config: of the run.
        progress: shown on stderr.
        resume: also go on with another backend than that of the run's checkpoint.

    Raises:
        XferError: in one line, whatever is wrong. Interrupted: by Ctrl-C or SIGTERM, with a checkpoint.
    """
    if config.epochs + config.fine_tune == 0:
        raise UsageError("epochs and fine_tune are both 0: give at least one epoch")
    out = writable(Path(config.out))
    seconds, steps = config.checkpoint_seconds, config.checkpoint_steps
    with Checkpoints(out / FOLDER, steps=steps, seconds=seconds) as checkpoints:
        return _run(config, out, checkpoints, interrupted(config, resume=resume), progress)


def finished(config: TrainConfig) -> dict[str, Any] | None:
    """What `metrics.json` says, if `config.out` holds this run and it was not interrupted.

    Raises:
        UsageError: it holds another.
    """
    out = Path(config.out)
    if kept(out / FOLDER) or not (out / METRICS).exists():
        return None
    try:
        metrics = dict(json.loads((out / METRICS).read_bytes()))
        before = dict(metrics["config"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(f"{out / METRICS} is damaged: remove it to begin again") from None
    if other := differing(config, before):
        raise UsageError(f"{out} holds a run with another {', '.join(other)}: give another --out")
    return metrics


def _run(config: TrainConfig, out: Path, checkpoints: Checkpoints, found: Checkpoint | None, progress: bool) -> Result:
    phases = Phases()
    before = known(found).get("seconds", 0.0) if found else 0.0
    clock = Clock(before)
    with phases.phase("data"):
        data = read_data(config)
    with phases.phase("load"):
        trainer = _begin(config, data, progress) if found is None else _go_on(config, data, found, progress)
        model, trainer.checkpoints = trainer.model, checkpoints
        trainer.callbacks.append(clock)
    position = None if found is None else {"epoch": trainer.epoch, "batch": trainer.batch}
    data = _fits(config, data, trainer, phases)
    with phases.phase("evaluate"), resumable(trainer):
        evaluation = _evaluated(config, model, data)
    with phases.phase("save"):
        trainer.save(out)
    metrics = _metrics(config, data, model, trainer, evaluation, phases)
    metrics["resumed"] = None if position is None else {**position, "seconds_before": before}
    metrics["seconds"]["total"] += before
    metrics["parameters"]["initial_sha256"] = trainer.extra["initial_sha256"]
    if (guessed := trainer.extra.get("pseudo_labels")) is not None:
        metrics["data"]["pseudo_labels"] = guessed["report"]
    if trainer.world.rank == 0:
        evaluation.write_csv(out / PREDICTIONS)
        write_atomically(out / METRICS, json.dumps(metrics, indent=1).encode())
        checkpoints.clear()
    return Result(model, evaluation, metrics, out)


def _begin(config: TrainConfig, data: Data, progress: bool) -> Trainer:
    from xfer.trainer import Trainer

    model = model_of(config, data)
    initial = digest(model.weights())
    trainer = Trainer(
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
        cache_views=config.cache_views,
        **_options(config, progress),
    )
    described = {"config": config.model_dump(mode="json"), "data": fingerprints(data), "initial_sha256": initial}
    trainer.extra = described
    return trainer


def _go_on(config: TrainConfig, data: Data, found: Checkpoint, progress: bool) -> Trainer:
    from xfer.trainer import Trainer

    check_data(data, found)
    options = _options(config, progress)
    trainer = Trainer.resume(
        found.path,
        backend=config.backend,
        device=config.device,
        compile=config.compile,
        deterministic=config.deterministic,
        **options,
    )
    trainer.auto_batch = config.batch_size == "auto"  # the next fit looks again
    say(trainer)
    return trainer


def _options(config: TrainConfig, progress: bool) -> dict[str, Any]:
    """What a checkpoint does not say of a trainer."""
    from xfer.callbacks import TensorBoard

    return {
        "workers": config.workers,
        "on_bad": config.on_bad,
        "early_stopping": config.early_stopping,
        "monitor": config.monitor,
        "cache": config.cache,
        "image_memory": config.image_memory,
        "swa": config.swa,
        "callbacks": [TensorBoard(Path(config.out, "tensorboard"))] if config.tensorboard else [],
        "progress": progress,
    }


def _fits(config: TrainConfig, data: Data, trainer: Trainer, phases: Phases) -> Data:
    """Train, phase by phase, but for those that were over when the run was interrupted; the data as it is then."""
    model, under_way = trainer.model, trainer.plan.phase if trainer.plan else None
    over = {row["phase"] for row in trainer.history} - {under_way}

    def fit(phase: str, begin: Callable[[], object], images: Callable[[], Data]) -> None:
        if phase not in over:
            with phases.phase(phase.replace("-", "_")):
                if phase == under_way:
                    trainer.fit(images())
                else:
                    begin()

    def head() -> None:
        model.freeze()
        trainer.fit(_head_data(config, model, data), config.epochs, phase="head")

    def fine_tune() -> None:
        trainer.fine_tune(
            data,
            head_epochs=0,
            epochs=config.fine_tune,
            unfreeze=config.unfreeze,
            lr=config.fine_tune_lr,
            train_norm=config.weights == "none" if config.train_norm is None else config.train_norm,
        )

    if config.epochs:
        fit("head", head, lambda: _head_data(config, model, data))
    if config.pseudo_label is not None:
        if "pseudo_labels" not in trainer.extra:
            labelled, report = pseudo_label(
                model, data, threshold=config.pseudo_label, batch_size=config.images_a_pass, cache=config.cache
            )
            trainer.extra["pseudo_labels"] = {"report": asdict(report), "labels": labelled.train.labels.tolist()}
        data = relabelled(data, trainer.extra["pseudo_labels"]["labels"])
        epochs = max(config.epochs, 1)
        fit(
            "pseudo-label",
            lambda: trainer.fit(_head_data(config, model, data), epochs, phase="pseudo-label"),
            lambda: _head_data(config, model, data),
        )
    if config.fine_tune:
        fit("fine-tune", fine_tune, lambda: data)
    return data


def _evaluated(config: TrainConfig, model: BaseModel, data: Data) -> Evaluation | TasksEvaluation:
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
    found: Evaluation | TasksEvaluation = model.evaluate(data, **options)
    return found


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
        deterministic=config.deterministic,
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
    config: TrainConfig,
    data: Data,
    model: BaseModel,
    trainer: Trainer,
    evaluation: Evaluation | TasksEvaluation,
    phases: Phases,
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
