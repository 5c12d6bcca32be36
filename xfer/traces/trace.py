"""A trace on disk: a folder with `trace.json` and one safetensors file a step."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from xfer.errors import DataError, first_line
from xfer.runtime.files import write_atomically
from xfer.runtime.strict_json import parse

FORMAT = 1
DOCUMENT = "trace.json"
_LARGEST_DOCUMENT = 64 << 20
_STEPS = 10_000


@dataclass(frozen=True)
class Layer:
    """One call of a layer or of a function, in the order of the calls.

    Attributes:
        name: of the layer, or of the function and its count (`relu#2`).
        kind: what it computes, one of `xfer.traces.reference.KINDS`, or "other".
        config: what its result depends on, in the terms of that kind; see `xfer.traces.reference`.
        native: name of its class or function.
        parameters: names of its tensors by role (weight, bias, mean, variance).
        inputs: keys of arrays of a step.
        output: likewise.
        source: the statement that makes it, as far as it is known.
    """

    name: str
    kind: str
    config: dict[str, Any]
    native: str
    parameters: dict[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    output: str = ""


@dataclass(frozen=True)
class Group:
    """Tensors that an optimizer updates by one set of hyper-parameters, which `Step.rates` completes."""

    tensors: list[str]
    settings: dict[str, Any]


@dataclass(frozen=True)
class StepNotes:
    """Numbers of a step.

    Attributes:
        loss: as the user's code reports it.
        rates: learning rate of each group.
        count: updates before this one, as the optimizer counts them; None where it does not.
        training: mode of each layer by name.
        passes: forward passes with gradients since the step before.
        raw: paths of the images' files.
        gradients: "run" for those of the run, "replay" for those of a second pass over the same state.
    """

    loss: float | None = None
    rates: list[float] = field(default_factory=list)
    count: int | None = None
    training: dict[str, bool] = field(default_factory=dict)
    passes: int = 1
    raw: list[str] = field(default_factory=list)
    gradients: str = "run"


@dataclass(frozen=True)
class TraceNotes:
    """Everything of a trace but its arrays.

    Attributes:
        framework: "torch" or "keras".
        versions: of libraries, by name.
        channels: whether image tensors are (N, C, H, W), "first", or (N, H, W, C), "last".
        roundoff: relative error of one operation: 2 ** -24 for float32.
        trainable: names of tensors that get gradients.
        optimizer: class of the optimizer; "" without one.
        groups: its groups.
        loss: what is known of the loss function from its object.
        classes: names of classes in the order of their numbers.
        samples: of how many images of a batch outputs of layers are kept.
    """

    framework: str
    versions: dict[str, str]
    channels: str
    roundoff: float
    layers: list[Layer]
    trainable: list[str]
    optimizer: str
    groups: list[Group]
    loss: dict[str, Any]
    classes: list[str]
    samples: int
    steps: list[StepNotes]
    xfer: str = ""
    format: int = FORMAT


class Step:
    """A step of a trace; arrays are read when they are asked for."""

    def __init__(self, path: Path, notes: StepNotes, before: Step | None) -> None:
        self.notes, self._path, self._before = notes, path, before

    @cached_property
    def names(self) -> frozenset[str]:
        """Keys of the arrays of its file."""
        with self._errors():
            return frozenset(self._file.keys())

    def __contains__(self, key: str) -> bool:
        return key in self.names

    def get(self, key: str) -> np.ndarray | None:
        """An array, or None. State before a step that is not there is that after the step before."""
        if key in self.names:
            with self._errors():
                return np.asarray(self._file.get_tensor(key))
        if key.startswith("before/") and self._before is not None:
            return self._before.get("after/" + key.removeprefix("before/"))
        if key.startswith("after/"):  # nothing has changed it
            return self.get("before/" + key.removeprefix("after/"))
        return None

    @cached_property
    def _file(self) -> Any:
        from safetensors import safe_open

        if not self._path.is_file():
            raise DataError(f"{self._path} is missing: the trace is incomplete, record it again")
        return safe_open(self._path, framework="numpy")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from safetensors import SafetensorError

        try:
            yield
        except (SafetensorError, OSError) as error:
            raise DataError(f"{self._path} is damaged ({first_line(error)[:100]}): record it again") from None


class Trace:
    """A trace that was read.

    Attributes:
        path: its folder.
        notes: everything but arrays.
        steps: in order.
    """

    def __init__(self, path: Path, notes: TraceNotes) -> None:
        self.path, self.notes = path, notes
        self.steps: list[Step] = []
        for number, each in enumerate(notes.steps):
            self.steps.append(Step(path / step_file(number), each, self.steps[-1] if self.steps else None))

    @property
    def keras(self) -> bool:
        """Whether it was recorded with Keras."""
        return self.notes.framework == "keras"


def step_file(number: int) -> str:
    """Name of the file of a step."""
    return f"step-{number}.safetensors"


def open_trace(path: str | Path) -> Trace:
    """Read a trace; its arrays are read when they are asked for.

    Raises:
        DataError: no trace, a damaged one, or one of a newer xfer.
    """
    from pydantic import TypeAdapter, ValidationError

    folder = Path(path)
    file = folder / DOCUMENT
    if not file.is_file():
        raise DataError(f"{folder} is no trace, for it has no {DOCUMENT}: record one with xfer.record(model, out=...)")
    try:
        if file.stat().st_size > _LARGEST_DOCUMENT:
            raise DataError(f"{file} has {file.stat().st_size:,} bytes: more than {_LARGEST_DOCUMENT:,} is refused")
        document = parse(file.read_bytes())
    except (ValueError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file} is damaged: {str(error).splitlines()[0][:100]}; record the trace again") from None
    newest = document.get("format") if isinstance(document, dict) else None
    if isinstance(newest, int) and newest > FORMAT:
        raise DataError(f"{file} has format {newest}, this xfer reads up to {FORMAT}: upgrade xfer")
    try:
        notes = TypeAdapter(TraceNotes).validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:100]
        raise DataError(f"{file} is damaged: {where}: {first['msg'].splitlines()[0]}; record it again") from None
    if not notes.steps:
        raise DataError(f"{folder} has no step: run the training loop inside of the with block")
    return Trace(folder, notes)


def write_step(folder: Path, number: int, arrays: Mapping[str, np.ndarray]) -> int:
    """Write the arrays of a step; returns their bytes."""
    from safetensors.numpy import save_file

    part = folder / f".{step_file(number)}.part"
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part)
    part.replace(folder / step_file(number))
    return sum(array.nbytes for array in arrays.values())


def write_notes(folder: Path, notes: TraceNotes) -> None:
    """Write `trace.json`; a trace is complete when it is there."""
    content = json.dumps(_finite(asdict(notes)), indent=1, allow_nan=False)
    write_atomically(folder / DOCUMENT, content.encode())


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: None in their place."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
