"""The whole job from a configuration: load, freeze, train, fine-tune, evaluate, save."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfer.checkpoints.checkpoint import Checkpoint
from xfer.checkpoints.rotation import FOLDER, Checkpoints
from xfer.errors import UsageError
from xfer.evaluation.calibration import calibrate
from xfer.evaluation.evaluation import Evaluation
from xfer.evaluation.tasks import TasksEvaluation
from xfer.evaluation.thresholds import tune_thresholds
from xfer.runtime.files import digest, write_atomically
from xfer.runtime.profiling import Phases
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.schedule import Schedule
from xfer.specs.settings import TrainConfig
from xfer.workflows.pseudo_labels import pseudo_label
from xfer.workflows.results import METRICS, PREDICTIONS, Result, metrics_of, writable
from xfer.workflows.resume import Clock, check_data, fingerprints, interrupted, known, relabelled, resumable, say
from xfer.workflows.setup import head_data, loss_of, model_of, read_data

if TYPE_CHECKING:
    from xfer.data import Data
    from xfer.models.base_model import BaseModel
    from xfer.training.trainer import Trainer


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
    metrics = metrics_of(config, data, model, trainer, evaluation, phases)
    metrics["resumed"] = None if position is None else {**position, "seconds_before": before}
    metrics["seconds"]["total"] += before
    metrics["parameters"]["initial_sha256"] = trainer.extra["initial_sha256"]
    if (guessed := trainer.extra.get("pseudo_labels")) is not None:
        metrics["data"]["pseudo_labels"] = guessed["report"]
    if trainer.distributed.rank == 0:
        evaluation.write_csv(out / PREDICTIONS)
        write_atomically(out / METRICS, json.dumps(metrics, indent=1).encode())
        checkpoints.clear()
    return Result(model, evaluation, metrics, out)


def _begin(config: TrainConfig, data: Data, progress: bool) -> Trainer:
    from xfer.training.trainer import Trainer

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
    from xfer.training.trainer import Trainer

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
    from xfer.training.callbacks import TensorBoard

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
        trainer.fit(head_data(config, model, data), config.epochs, phase="head")

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
        fit("head", head, lambda: head_data(config, model, data))
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
            lambda: trainer.fit(head_data(config, model, data), epochs, phase="pseudo-label"),
            lambda: head_data(config, model, data),
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
