"""The trackers by the names that the option `track` takes."""

from __future__ import annotations

from collections.abc import Sequence

from xfer.specs.choices import TrackerName
from xfer.training.mlflow import MLflow
from xfer.training.tensorboard import TensorBoard
from xfer.training.tracking import Tracker, require
from xfer.training.wandb import WandB

KINDS: dict[TrackerName, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}


def trackers(names: Sequence[TrackerName]) -> list[Tracker]:
    """One tracker of each name, in its default folder."""
    return [KINDS[name]() for name in dict.fromkeys(names)]


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Check that what trackers need is installed.

    Raises:
        UsageError: it is not.
    """
    for name in names:
        require(KINDS[name])
