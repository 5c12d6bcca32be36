"""A finished run, read back from its folder."""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xfer.checkpoints.manifest import METRICS
from xfer.data.texts import TextBuilder
from xfer.errors import CheckpointError
from xfer.workflows.results import PREDICTIONS


@dataclass(frozen=True, eq=False)
class Run:
    """What one backend made of the data: N validation images, K classes.

    Args:
        metrics: the run's `metrics.json`.
        names: of the images.
        labels: int64 (N,), true classes as indices into `classes`.
        predicted: int64 (N,), likewise.
        probabilities: float64 (N, K).
    """

    metrics: dict[str, Any]
    names: Sequence[str]
    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @property
    def backend(self) -> str:
        """Name of the backend that ran it."""
        return str(self.metrics["backend"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return tuple(self.metrics["classes"])


def read_run(folder: Path) -> Run:
    """The run in a folder that `xfer.workflows.run.train` has written.

    Raises:
        CheckpointError: a file that is missing or damaged.
    """
    try:
        metrics = json.loads((folder / METRICS).read_bytes())
        names, labels, predicted, probabilities = _read_predictions(folder / PREDICTIONS, metrics["classes"])
    except OSError as error:
        raise CheckpointError(f"{folder} is not a finished run: {error.filename} ({error.strerror})") from None
    except (ValueError, KeyError, IndexError) as error:
        raise CheckpointError(f"{folder} is damaged ({type(error).__name__}: {error}): train it again") from None
    return Run(metrics, names, labels, predicted, probabilities)


def _read_predictions(path: Path, classes: list[str]) -> tuple[Sequence[str], np.ndarray, np.ndarray, np.ndarray]:
    index = {name: i for i, name in enumerate(classes)}
    names, labels, predicted, probabilities = TextBuilder(), array("q"), array("q"), array("d")
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        lines = csv.reader(file)
        if next(lines, [])[3:] != classes:
            raise ValueError(f"{path.name} has other classes than {METRICS}")
        for name, label, guess, *row in lines:
            if len(row) != len(classes):
                raise ValueError(f"line {lines.line_num} of {path.name} has {len(row)} probabilities")
            names.extend([name])
            labels.append(index[label])
            predicted.append(index[guess])
            probabilities.extend(map(float, row))
    if not len(names):
        raise ValueError(f"{path.name} has no images")
    table = np.frombuffer(probabilities, np.float64).reshape(len(names), -1)
    return names.build(), np.frombuffer(labels, np.int64), np.frombuffer(predicted, np.int64), table
