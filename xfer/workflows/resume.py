"""A run that was interrupted: whether it is the one that is asked for, and going on with it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.checkpoints.checkpoint import Checkpoint
from xfer.checkpoints.rotation import FOLDER, latest_checkpoint
from xfer.errors import DataError, UsageError
from xfer.runtime.distributed import launch_environment
from xfer.runtime.signals import Interrupted, Watch
from xfer.specs.settings import TrainConfig
from xfer.training.callback import Callback

if TYPE_CHECKING:
    from xfer.data import Data
    from xfer.training.trainer import Trainer

# What does not change the result, or only where the run lies.
_FREE = frozenset({"out", "workers", "device", "image_memory", "tensorboard", "checkpoint_seconds", "checkpoint_steps"})


class Clock(Callback):
    """Has each checkpoint know how many seconds the run has taken, those before it was interrupted included."""

    def __init__(self, before: float = 0.0) -> None:
        self.before, self._began = before, time.perf_counter()

    def on_step_end(self, trainer: Trainer, step: int, loss: float) -> None:
        """Look at the clock."""
        trainer.extra["seconds"] = self.before + time.perf_counter() - self._began


def interrupted(config: TrainConfig, *, resume: bool = False) -> Checkpoint | None:
    """The newest whole checkpoint of the run that `config` describes, if it was interrupted.

    Args:
        config: what is asked for.
        resume: the backend may be another.

    Raises:
        UsageError: the folder holds another run. CheckpointError: no checkpoint of it is whole.
    """
    found = latest_checkpoint(Path(config.out, FOLDER))
    if found is not None:
        free = _FREE | {"backend"} if resume else _FREE
        if other := differing(config, known(found).get("config", {}), free):
            way = "" if other != ["backend"] else "--resume to go on with another, "
            raise UsageError(
                f"{config.out} holds an interrupted run with another {', '.join(other)}: give the same to go on, {way}"
                f"another --out, or remove {found.path.parent} to begin again"
            )
    return found


def known(found: Checkpoint) -> dict[str, Any]:
    """What the recipe has put beside a checkpoint; nothing where it did not make it."""
    gathered = found.progress()
    return gathered.extra if gathered else {}


def differing(config: TrainConfig, before: Mapping[str, Any], free: frozenset[str] = _FREE) -> list[str]:
    """The options by which the result of a run would be another."""
    asked = config.model_dump(mode="json")
    return [key for key, value in asked.items() if key not in free and before.get(key) != value]


def options_of(folder: str | Path) -> dict[str, Any]:
    """The options of the run in a folder, interrupted or finished; none where there is no run."""
    from xfer.workflows.results import METRICS

    found = latest_checkpoint(Path(folder, FOLDER))
    if found is not None:
        return dict(known(found).get("config", {}))
    try:
        return dict(json.loads(Path(folder, METRICS).read_bytes())["config"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def check_data(data: Data, found: Checkpoint) -> None:
    """Assert that the data is what the run has begun with.

    Raises:
        DataError: another list of images, or other labels.
    """
    if known(found).get("data") != fingerprints(data):
        raise DataError(
            f"{data.source} has changed since the run was interrupted: put it back as it was, or remove "
            f"{found.path.parent} to begin again"
        )


def fingerprints(data: Data) -> dict[str, str]:
    """SHA-256 of the list of each split."""
    return {name: split.fingerprint() for name, split in data.splits.items()}


def relabelled(data: Data, labels: list[int]) -> Data:
    """The data with other labels in train, those that an earlier part of the run found."""
    from dataclasses import replace

    return replace(data, train=replace(data.train, labels=np.array(labels, np.int64)))


def say(trainer: Trainer) -> None:
    """One line on stderr about where the run goes on."""
    if launch_environment().rank == 0:
        where = f"epoch {trainer.epoch + 1}" + (f", batch {trainer.batch + 1}" if trainer.batch else "")
        print(f"going on from {where}: {trainer.saved}", file=sys.stderr, flush=True)


@contextmanager
def resumable(trainer: Trainer) -> Iterator[None]:
    """While nothing is trained, a signal is raised at once, and the run saved as it stands."""
    with Watch(active=trainer.distributed.size == 1) as watch:
        try:
            with watch.anywhere():
                yield
        except Interrupted as error:
            error.saved = trainer.checkpoint()
            raise
