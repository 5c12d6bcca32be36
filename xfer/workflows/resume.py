"""Resuming a run that was interrupted, if its settings and data are the same."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xfer.checkpoints.checkpoint import Checkpoint
from xfer.checkpoints.manifest import METRICS
from xfer.checkpoints.rotation import FOLDER, latest_checkpoint
from xfer.checkpoints.store import address_of, fetch_run, run_folder
from xfer.data import Data
from xfer.errors import DataError, UsageError
from xfer.runtime import agreement
from xfer.runtime.distributed import launch_environment
from xfer.runtime.progress import say
from xfer.runtime.signals import Interrupted
from xfer.specs.settings import RunSettings
from xfer.training.callback import Callback, TrainerView
from xfer.training.trainer import Trainer


class Clock(Callback):
    """Records in each checkpoint how many seconds the run has taken, including those before an interruption."""

    def __init__(self, before: float = 0.0) -> None:
        self.before, self._began = before, time.perf_counter()

    def on_step_end(self, trainer: TrainerView, step: int, loss: float) -> None:
        """Update the seconds."""
        trainer.extra["seconds"] = self.before + time.perf_counter() - self._began


def interrupted(config: RunSettings, *, resume: bool = False) -> Checkpoint | None:
    """The newest undamaged checkpoint of the run that the settings describe, if it was interrupted.

    Args:
        config: the settings given now.
        resume: whether the backend may be another.

    Raises:
        UsageError: the folder holds a run with other settings. CheckpointError: all its checkpoints are damaged.
    """
    found = latest_checkpoint(run_folder(config.out) / FOLDER)
    if found is not None:
        other = config.changed(found.extra().get("config", {}))
        if other and not (resume and other == ["backend"]):
            way = "" if other != ["backend"] else "--resume to go on with another, "
            raise UsageError(
                f"{config.out} holds an interrupted run with another {', '.join(other)}: give the same to go on, {way}"
                f"another --out, or remove {found.path.parent} to begin again"
            )
    return found


def options_of(folder: str | Path) -> dict[str, Any]:
    """The options of the run in a folder, interrupted or finished; none where there is no run."""
    fetch_run(folder)
    found = latest_checkpoint(run_folder(folder) / FOLDER)
    if found is not None:
        return dict(found.extra().get("config", {}))
    try:
        return dict(json.loads((run_folder(folder) / METRICS).read_bytes())["config"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def check_data(data: Data, found: Checkpoint) -> None:
    """Check that the data is that with which the run began.

    Raises:
        DataError: another list of images, or other labels.
    """
    if found.extra().get("data") != fingerprints(data):
        raise DataError(
            f"{data.source} has changed since the run was interrupted, or the corrections of its labels have: put it "
            f"back as it was, or remove {found.path.parent} to begin again"
        )


def fingerprints(data: Data) -> dict[str, str]:
    """SHA-256 of the list of images and labels of each split."""
    return {name: split.fingerprint() for name, split in data.splits.items()}


def say_position(trainer: Trainer) -> None:
    """One line on stderr: the position from which the run is resumed."""
    if launch_environment().rank == 0:
        where = f"epoch {trainer.epoch + 1}" + (f", batch {trainer.batch + 1}" if trainer.batch else "")
        say(f"going on from {where}: {address_of(trainer.saved)}")


@contextmanager
def resumable(trainer: Trainer) -> Iterator[None]:
    """A context in which a signal is raised immediately, after the run was saved: for work that trains nothing."""
    with agreement.watch(trainer.distributed.size) as watch:
        try:
            with watch.anywhere():
                yield
        except Interrupted as error:
            error.saved = trainer.checkpoint()
            raise
