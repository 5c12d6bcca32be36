"""What a finished run writes, and reading it back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xfer.checkpoints.manifest import METRICS
from xfer.checkpoints.rotation import FOLDER, checkpoints_in
from xfer.checkpoints.store import fetch_run, run_folder
from xfer.data import Data, Split
from xfer.errors import CheckpointError, UsageError
from xfer.evaluation.evaluation import Evaluation
from xfer.evaluation.tasks import TasksEvaluation
from xfer.models.base_model import BaseModel
from xfer.runtime.files import writing_into
from xfer.runtime.paths import expanded
from xfer.runtime.profiling import Phases
from xfer.runtime.remote import RemotePath, is_remote
from xfer.runtime.text import path_text
from xfer.specs.settings import RunSettings
from xfer.training.trainer import Trainer
from xfer.workflows.setup import read_data

PREDICTIONS = "predictions.csv"


@dataclass(frozen=True)
class Result:
    """A finished run.

    Args:
        model: the trained model.
        evaluation: its answers on the validation split, by which the best epoch, thresholds and temperature are chosen.
        metrics: what `metrics.json` says.
        path: the folder.
        test: its answers on the test split, if there is one, which nothing was chosen by.
        judged: the split of `evaluation`.
    """

    model: BaseModel
    evaluation: Evaluation | TasksEvaluation
    metrics: dict[str, Any]
    path: Path
    test: Evaluation | TasksEvaluation | None = None
    judged: Split | None = None

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.4f}" for name, value in list(self.evaluation.metrics.items())[:3])
        return f"Result({self.model.name} on {self.model.backend.name}: val {scores}; {path_text(self.path)})"


def finished(config: RunSettings) -> dict[str, Any] | None:
    """What `metrics.json` says, if `config.out` holds this run and it was not interrupted.

    Of a run under a URL, `fetch_run` is called before.

    Raises:
        UsageError: it holds another.
    """
    out = run_folder(config.out)
    if checkpoints_in(out / FOLDER) or not (out / METRICS).exists():
        return None
    try:
        metrics = dict(json.loads((out / METRICS).read_bytes()))
        before = dict(metrics["config"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(f"{out / METRICS} is damaged: remove it to begin again") from None
    if other := config.changed(before):
        raise UsageError(f"{out} holds a run with another {', '.join(other)}: give another --out")
    if _other_corrections(config, metrics):
        raise UsageError(f"{out} holds a run with other corrections of labels: give another --out")
    return metrics


def _other_corrections(config: RunSettings, metrics: dict[str, Any]) -> bool:
    """Whether labels are corrected otherwise than in the run; a file that is gone is taken for the run's own."""
    path, before = config.corrections, [list(each) for each in metrics["data"].get("corrections", [])]
    if path is None:
        return bool(before)
    if path == metrics["config"].get("corrections") and not expanded(path).exists():
        return False
    return [list(each) for each in read_data(config).corrections] != before


def metrics_digest(run: str | Path) -> str | None:
    """SHA-256 of the `metrics.json` of a run, by which another one is known; None where there is none."""
    try:
        where = RemotePath(str(run)) if is_remote(run) else expanded(run)
        return hashlib.sha256((where / METRICS).read_bytes()).hexdigest()
    except OSError:
        return None


def recorded(run: str | Path) -> dict[str, Any] | None:
    """What `metrics.json` of a run says, if it is there.

    Raises:
        CheckpointError: it is damaged.
    """
    fetch_run(run)
    path = run_folder(run) / METRICS
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        raise CheckpointError(f"{path} is damaged: remove it, or train again") from None


def metrics_of(
    config: RunSettings,
    data: Data,
    model: BaseModel,
    trainer: Trainer,
    evaluation: Evaluation | TasksEvaluation,
    phases: Phases,
) -> dict[str, Any]:
    """What `metrics.json` says of a finished run."""
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
            "corrections": [list(each) for each in data.corrections],
        },
        "config": config.document(),
    }


def _counts(data: Data, trainer: Trainer, evaluation: Evaluation | TasksEvaluation) -> dict[str, dict[str, int]]:
    """What became of the images of train and of the split that was evaluated; the parts add up to what is listed.

    Unlabelled images of train are used: they are in its batches and count in no loss.
    """
    found = {}
    for name, split, skipped in (("train", data.train, trainer.skipped), ("val", data.judged, evaluation.skipped)):
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
        CheckpointError: it cannot be written into. UsageError: it is a URL.
    """
    folder = expanded(folder)
    with writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process of the run may have been faster
    return folder
