"""`xfer.record`: keep what a user's own training code computes, for a few steps."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np

from xfer.errors import DataError, UsageError, first_line
from xfer.runtime.messages import on_stderr
from xfer.runtime.version import __version__
from xfer.traces.trace import DOCUMENT, StepNotes, TraceNotes, step_file, write_notes, write_step

# Where a model of a framework that is loaded is recorded. Keras first: on its torch engine a keras.Model is a Module.
_RECORDERS = {
    "keras": ("Model", "xfer_keras.record", "KerasRecorder"),
    "torch": ("nn.Module", "xfer_torch.record", "TorchRecorder"),
}
WHOLE = 1 << 18  # bytes; a larger output of a layer is kept of the first images alone


def record(
    model: Any,
    optimizer: Any = None,
    out: str | Path = "trace",
    *,
    steps: int = 3,
    samples: int = 2,
    classes: Sequence[str] = (),
    limit: int = 2 << 30,
) -> Recorder:
    """Keep what a training loop computes in its first steps, so that `xfer.diff` can say why two runs differ.

    Used around a loop that has nothing else to do with xfer, in a `with` statement; the run computes the same numbers
    with and without it. A step is an update of the weights. With PyTorch images, outputs, gradients and weights are
    seen by hooks; `recorder.step(images, labels, loss)` once a step adds what they cannot see. With Keras `fit` is seen
    as a whole, in a `with` block or by `fit(..., callbacks=[recorder.callback])`, and a loop with a GradientTape calls
    `recorder.step(images, labels, loss)` after each update.

    Args:
        model: a `torch.nn.Module` or a `keras.Model` (on TensorFlow); any, not only one of xfer.
        optimizer: what updates it; a compiled Keras model's own by default.
        out: folder of the trace; one that is there is replaced.
        steps: how many updates are kept; the code runs on after them.
        samples: of how many images of a batch large outputs of layers are kept.
        classes: names of the classes in the order of their numbers, where they are known.
        limit: bytes; outputs of layers are left out where a trace would become larger.

    Returns:
        A context manager; a trace is complete when it is left, also by an error.

    Raises:
        UsageError: neither a torch.nn.Module nor a keras.Model, or a way of training that cannot be seen.
        DataError: `out` holds something else than a trace.
    """
    for framework, (kind, module, name) in _RECORDERS.items():
        loaded: Any = sys.modules.get(framework)
        for part in kind.split("."):
            loaded = getattr(loaded, part, None)
        if isinstance(loaded, type) and isinstance(model, loaded):
            recorder: Recorder = getattr(import_module(module), name)(model, optimizer)
            recorder.open(Path(out), steps, samples, tuple(classes), limit)
            return recorder
    raise UsageError(f"cannot record a {type(model).__name__}: give a torch.nn.Module or a keras.Model")


class Recorder(ABC):
    """What `xfer.record` returns."""

    def open(self, out: Path, steps: int, samples: int, classes: tuple[str, ...], limit: int) -> None:
        """Check where a trace is to be written, and remember how.

        Raises:
            UsageError: a number below 1. DataError: the folder holds something else, or cannot be made.
        """
        for name, number in {"steps": steps, "samples": samples, "limit": limit}.items():
            if number < 1:
                raise UsageError(f"{name}={number}: give at least 1")
        if out.exists() and not (out.is_dir() and ((out / DOCUMENT).is_file() or not any(out.iterdir()))):
            raise DataError(f"{out} is there and is no trace: give another out")
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / DOCUMENT).unlink(missing_ok=True)
            for old in out.glob(step_file(0).replace("0", "*")):
                old.unlink()
        except OSError as error:
            raise DataError(f"cannot write into {out}: {error.strerror}; give another out") from None
        self.out, self.wanted, self.samples, self.classes, self.limit = out, steps, samples, classes, limit
        self.written: list[StepNotes] = []
        self.bytes = 0
        self.before: dict[str, np.ndarray] = {}

    @property
    def complete(self) -> bool:
        """Whether all steps are there: the run is left alone from then on."""
        return len(self.written) >= self.wanted

    @abstractmethod
    def step(
        self,
        images: Any = None,
        labels: Any = None,
        loss: Any = None,
        weights: Any = None,
        raw: Sequence[Any] = (),
    ) -> None:
        """Say what cannot be seen of the step that was just made.

        Args:
            images: the batch as the network gets it.
            labels: numbers of classes (N,) or distributions (N, K), as the loss gets them.
            loss: the number that the step has made smaller.
            weights: of the samples (N,) or of the classes (K,), where the loss has any.
            raw: the images before any preprocessing: paths of files, or arrays (H, W, 3) of bytes. The first ones are
                kept.
        """

    @abstractmethod
    def __enter__(self) -> Self:
        """Begin to record."""

    @abstractmethod
    def describe(self) -> TraceNotes:
        """The trace without its steps."""

    def keep(self, notes: StepNotes, arrays: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
        """Write a step.

        Args:
            notes: its numbers.
            arrays: all of it but the state.
            after: the state after it (`after/...`), of which what has changed is written.
        """
        state = {f"before/{name}": array for name, array in self.before.items()} if not self.written else {}
        changed = {
            f"after/{name}": array
            for name, array in after.items()
            if name not in self.before or not _same_bits(array, self.before[name])
        }
        late = {f"before/{n}": np.zeros_like(a) for n, a in after.items() if n not in self.before}  # slots
        layers = {key: array for key, array in arrays.items() if key.startswith(("out/", "in/"))}
        rest = {key: array for key, array in (arrays | state | late | changed).items() if key not in layers}
        size = sum(array.nbytes for array in rest.values())
        if self.bytes + size + sum(array.nbytes for array in layers.values()) <= self.limit:
            rest |= layers
        elif layers:
            on_stderr(f"outputs of layers are not kept: {self.out} would exceed limit={self.limit:,} bytes")
        self.bytes += write_step(self.out, len(self.written), rest)
        self.before = after
        self.written.append(notes)

    def close(self) -> None:
        """Write what describes the steps; without it the folder is no trace."""
        if self.written:
            write_notes(self.out, replace(self.describe(), steps=self.written, xfer=__version__))
        else:
            on_stderr(f"{self.out}: no step was recorded; is the training loop inside of the with block?")

    def part(self, array: Any) -> Any:
        """The first images of a large output, or all of a small one; the array may be of any framework."""
        size = math.prod(WHOLE if length is None else int(length) for length in array.shape)
        return array if size * 4 <= WHOLE or not array.shape else array[: self.samples]


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    left, right = (np.ascontiguousarray(each).reshape(-1).view(np.uint8) for each in (a, b))
    return np.array_equal(left, right)


def raw_arrays(raw: Sequence[Any], samples: int) -> tuple[list[str], dict[str, np.ndarray]]:
    """Paths among raw images, and the first images by key: a trace is compared where the files are not.

    Raises:
        UsageError: an array that is no image of bytes, or a file that is no image.
    """
    found: dict[str, np.ndarray] = {}
    for i, given in enumerate(raw[:samples]):
        image = _read(given) if isinstance(given, str | Path) else np.asarray(given)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise UsageError(f"raw[{i}] is {image.dtype} {image.shape}: give arrays (H, W, 3) of uint8, or paths")
        found[f"raw/{i}"] = image
    return [str(each) for each in raw if isinstance(each, str | Path)], found


def _read(path: str | Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"raw image {path} cannot be read: {first_line(error)}") from None
