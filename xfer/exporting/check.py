"""Opening an exported file in its own runtime, and comparing it with the model."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data import Split
from xfer.errors import DataError, XferError
from xfer.exporting import fresh
from xfer.exporting.formats import Format
from xfer.exporting.images import batches
from xfer.models.base_model import BaseModel
from xfer.specs.decision import Decision, softmax
from xfer.specs.exported import COLUMNS, IMAGE, PROBABILITIES, Output
from xfer.specs.inputs import Inputs
from xfer.specs.tasks import split_outputs
from xfer.workflows.prediction.table import LIKELY


@dataclass(frozen=True)
class Check:
    """How a file compares with the model.

    Args:
        runtime: that opened it, with its version.
        images: how many were compared.
        greatest_difference: of any probability, or number of a regression in its standard deviations.
        equal_classes: images that are given the same classes.
        milliseconds: for one image in the file's runtime.
        model_milliseconds: for one image in the model's own framework.
        needs_xfer: whether it was opened with xfer's own layers (`.keras` of some families); nothing else is.
        differences: the greatest by output.
    """

    runtime: str
    images: int
    greatest_difference: float
    equal_classes: int
    milliseconds: float
    model_milliseconds: float
    needs_xfer: bool
    differences: Mapping[str, float]


class Comparison:
    """Images and what the model says of them, on disk: a file is opened by another process."""

    def __init__(self, model: BaseModel, outputs: Sequence[Output], split: Split) -> None:
        self.outputs, self.decision = outputs, model.decision
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        size = model.spec.preprocessing.size
        arrays = {IMAGE: self._array(IMAGE, np.uint8, (len(split), size, size, 3))}
        if model.spec.columns:
            arrays[COLUMNS] = self._array(COLUMNS, np.float32, (len(split), model.spec.columns))
        self.inputs, logits, self.images = list(arrays), [], 0
        first: Inputs | None = None
        for given in batches(model, split, "predicting with the model"):
            first = first or given.take(np.arange(1))
            rows = slice(self.images, self.images + len(given))
            arrays[IMAGE][rows] = given.values
            if COLUMNS in arrays:
                arrays[COLUMNS][rows] = given.columns
            logits.append(model.logits(given))
            self.images = rows.stop
        if first is None:
            raise DataError("none of the images to compare on can be read: give --check DATA")
        one = first
        z, tasks = np.concatenate(logits), model.spec.tasks
        self.expected = split_outputs(tasks, z) if tasks else {PROBABILITIES: softmax(model.decision.scaled(z))}
        self.milliseconds = fresh.milliseconds(lambda: model.logits(one))

    def of(self, path: Path, format: Format) -> Check:
        """Open a file in a process of its own.

        Raises:
            XferError: the process failed, or the outputs have other names or shapes.
        """
        job: dict[str, Any] = {
            "path": str(path),
            "code": format.opened_by,
            "inputs": self.inputs,
            "images": self.images,
        }
        job["without"] = list(format.without)
        (self.folder / "job.json").write_text(json.dumps(job), "utf-8")
        command = [sys.executable, "-P", str(Path(fresh.__file__)), str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise XferError(f"the file cannot be opened again by {format.name}'s own runtime: {said}")
        seen = json.loads((self.folder / "seen.json").read_text("utf-8"))
        with np.load(self.folder / "outputs.npz") as found:
            differences, equal = self._compared({name: found[name] for name in found.files})
        return Check(
            seen["version"],
            self.images,
            max(differences.values()),
            equal,
            seen["milliseconds"],
            self.milliseconds,
            seen["needs_xfer"],
            differences,
        )

    def close(self) -> None:
        """Remove the images."""
        self._folder.cleanup()

    def _array(self, name: str, kind: Any, shape: tuple[int, ...]) -> np.ndarray:
        return np.lib.format.open_memmap(self.folder / f"{name}.npy", mode="w+", dtype=kind, shape=shape)

    def _compared(self, found: dict[str, np.ndarray]) -> tuple[dict[str, float], int]:
        differences, equal = {}, np.ones(self.images, bool)
        for output in self.outputs:
            expected = self.expected[output.name]
            if output.name not in found or found[output.name].shape != expected.shape:
                shapes = {name: array.shape for name, array in found.items()}
                raise XferError(f"the file gives {shapes}: expected {output.name} {expected.shape}")
            given = found[output.name]
            scale = np.array(output.std or 1.0)
            apart = np.nan_to_num(np.abs((given - expected) / scale), nan=np.inf)
            differences[output.name] = float(apart.max(initial=0))
            equal &= same(output, given, expected, self.decision) & np.isfinite(given).all(axis=1)
        return differences, int(equal.sum())


def same(output: Output, given: np.ndarray, expected: np.ndarray, decision: Decision) -> np.ndarray:
    """Whether each row names the same class or labels: bool (N,); of a regression always."""
    if output.kind == "regression":
        return np.ones(len(given), bool)
    if output.kind == "multi-label":
        return np.asarray(((given > LIKELY) == (expected > LIKELY)).all(axis=1))
    return np.asarray(decision.choose(given) == decision.choose(expected))
