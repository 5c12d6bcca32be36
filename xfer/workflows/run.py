"""A whole run from its settings: load, freeze, train, fine-tune, evaluate, save."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xfer.checkpoints.checkpoint import Checkpoint
from xfer.checkpoints.manifest import METRICS
from xfer.checkpoints.rotation import Checkpoints
from xfer.checkpoints.store import address_of, checkpoints_of, fetch_run, publish_run, run_folder
from xfer.data import Data
from xfer.data.trained_on import contents
from xfer.evaluation.calibration import calibrate
from xfer.evaluation.evaluation import Evaluation
from xfer.evaluation.tasks import TasksEvaluation
from xfer.evaluation.thresholds import tune_thresholds
from xfer.models.base_model import BaseModel
from xfer.runtime.files import tensors_digest, write_atomically
from xfer.runtime.profiling import Phases
from xfer.runtime.progress import show_progress
from xfer.runtime.signals import Interrupted
from xfer.specs.option import about
from xfer.specs.settings import RunSettings
from xfer.specs.training_settings import TrainingSettings
from xfer.training.callback import Callback
from xfer.training.range_test import RANGE_TEST
from xfer.training.tensorboard import TensorBoard
from xfer.training.tracking import TRACKING, Tracker
from xfer.training.trainer import Trainer
from xfer.workflows.phases import train_phases
from xfer.workflows.processes import starts_processes, train_in_processes
from xfer.workflows.results import PREDICTIONS, Result, metrics_of, writable
from xfer.workflows.resume import Clock, check_data, fingerprints, interrupted, resumable, say_position
from xfer.workflows.setup import check_run, model_of, passes, read_data


def train(config: RunSettings, *, progress: bool = True, resume: bool = False) -> Result:
    """Train, evaluate and save as the settings say.

    Writes into `config.out`: the checkpoint, `history.json` and `.csv`, `metrics.json`, and `predictions.csv` with the
    class probabilities of every validation image. Where the data has a test split, the figures on it are the final
    ones: nothing was chosen by it. During training its folder `checkpoints` holds the last two
    checkpoints; a run that was killed is resumed from them when it is started again.

    Args:
        config: the settings of the run; with several `processes` it starts them, unless it is in one of them. `out`
            may be a URL, see `xfer.checkpoints.store`.
        progress: whether progress is shown on stderr.
        resume: whether an interrupted run may be continued on another backend.

    Raises:
        XferError: in one line, whatever is wrong. Interrupted: by Ctrl-C or SIGTERM, with a checkpoint.
    """
    check_run(config)
    if starts_processes(config):
        return train_in_processes(config, progress=progress, resume=resume)
    out = writable(run_folder(config.out))
    seconds, steps = config.checkpoint_seconds, config.checkpoint_steps
    with show_progress(progress), checkpoints_of(config.out, steps=steps, seconds=seconds) as checkpoints:
        fetch_run(config.out)
        try:
            return _run(config, out, checkpoints, interrupted(config, resume=resume), progress)
        except Interrupted as error:
            error.saved = address_of(error.saved) if isinstance(error.saved, Path) else error.saved
            raise


def _run(config: RunSettings, out: Path, checkpoints: Checkpoints, found: Checkpoint | None, progress: bool) -> Result:
    phases = Phases()
    before = found.extra().get("seconds", 0.0) if found else 0.0
    clock = Clock(before)
    with phases.phase("data"):
        data = read_data(config)
    with phases.phase("load"):
        trainer = begin(config, data, progress=progress) if found is None else _continue(config, data, found, progress)
        model, trainer.checkpoints = trainer.model, checkpoints
        trainer.callbacks.append(clock)
    position = None if found is None else {"epoch": trainer.epoch, "batch": trainer.batch}
    given = data.train
    data = train_phases(config, data, trainer, phases)
    with phases.phase("evaluate"), resumable(trainer):
        evaluation, test = _evaluated(config, model, data)
    with phases.phase("save"):
        trainer.save(out)
    metrics = metrics_of(config, data, model, trainer, evaluation, phases)
    tuned = {"temperature": config.calibrate, "thresholds": config.thresholds}
    metrics["tuned_on_val"] = [name for name, asked in tuned.items() if asked]
    if test is not None:
        metrics["test"] = test.metrics
    metrics["resumed"] = None if position is None else {**position, "seconds_before": before}
    metrics["seconds"]["total"] += before
    metrics["parameters"]["initial_sha256"] = trainer.extra["initial_sha256"]
    # By which `xfer evaluate` knows the images again; pseudo-labels change their labels.
    metrics["data"]["given"] = {"sha256": trainer.extra["data"]["train"], "contents": contents(given)}
    if RANGE_TEST in trainer.extra:
        metrics[RANGE_TEST] = trainer.extra[RANGE_TEST]
    if (guessed := trainer.extra.get("pseudo_labels")) is not None:
        metrics["data"]["pseudo_labels"] = guessed["report"]
    if trainer.distributed.rank == 0:
        _finish_tracking(trainer, metrics)
        evaluation.write_csv(out / PREDICTIONS)
        write_atomically(out / METRICS, json.dumps(metrics, indent=1).encode())
        publish_run(config.out)
        checkpoints.clear()
    return Result(model, evaluation, metrics, out, test, data.judged)


def begin(config: RunSettings, data: Data, *, progress: bool) -> Trainer:
    """A trainer of a new model, as the settings say."""
    model = model_of(config, data)
    initial = tensors_digest(model.weights())
    loss = None if data.tasks else config.loss_spec(data.train.counts())
    trainer = Trainer(model, settings=config, loss=loss, callbacks=_callbacks(config), progress=progress)
    trainer.extra = {"config": config.document(), "data": fingerprints(data), "initial_sha256": initial}
    return trainer


def _continue(config: RunSettings, data: Data, found: Checkpoint, progress: bool) -> Trainer:
    check_data(data, found)
    changeable = {
        name: getattr(config, name) for name, field in TrainingSettings.model_fields.items() if about(field).on_resume
    }
    trainer = Trainer.resume(
        found.path,
        backend=config.backend,
        device=config.device,
        compile=config.compile,
        deterministic=config.deterministic,
        callbacks=_callbacks(config),
        progress=progress,
        **changeable,
    )
    say_position(trainer)
    return trainer


def _callbacks(config: RunSettings) -> list[Callback]:
    return [TensorBoard()] if config.tensorboard and "tensorboard" not in config.track else []


def _finish_tracking(trainer: Trainer, metrics: dict[str, Any]) -> None:
    """Log `final_val_accuracy` and so on, end the runs of trackers, and note their ids in the metrics."""
    if TRACKING not in trainer.extra:
        return
    final = {f"final_{split}_{n}": v for split in ("val", "test") for n, v in metrics.get(split, {}).items()}
    for callback in trainer.callbacks:
        if isinstance(callback, Tracker):
            callback.finish(final, trainer.epoch)
    metrics[TRACKING] = trainer.extra[TRACKING]


def _evaluated(
    config: RunSettings, model: BaseModel, data: Data
) -> tuple[Evaluation | TasksEvaluation, Evaluation | TasksEvaluation | None]:
    """Answers on the validation split, and on the test split if there is one, when all is chosen."""
    found = validate(config, model, data)
    return found, None if data.test is None else model.evaluate(data, split="test", **passes(config))


def validate(config: RunSettings, model: BaseModel, data: Data) -> Evaluation | TasksEvaluation:
    """Answers on the validation split, after temperature and thresholds were set on it, if that was asked for."""
    options = passes(config)
    if config.calibrate:
        calibrate(model, data, **options)
    if config.thresholds:
        tune_thresholds(model, data, config.thresholds, **options)
    evaluation: Evaluation | TasksEvaluation = model.evaluate(data, **options)
    return evaluation
