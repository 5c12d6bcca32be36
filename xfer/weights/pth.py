"""Reads torch's `.pth` files without torch and without executing a pickle.

A pickle is a program; `pickles` runs it, with a table of names that only describe tensors. Tensors are then cut out of
the storages in the file, within their bounds.
Formats: the zip of torch 1.6 and later, and the older sequence of pickles (torch/serialization.py).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from xfer.errors import WeightsError
from xfer.runtime.progress import say
from xfer.weights.archive import MAGIC, Archive
from xfer.weights.malformed import MalformedError
from xfer.weights.parts import listed, state_dict
from xfer.weights.pickles import SKIPPED, Function, Machine, Skipped

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DIMENSIONS = 32
_COPIES = 4  # of the file's bytes that its tensors may take together: tied weights are there twice

# NumPy's type of an element; bfloat16, which NumPy lacks, is read as bits and widened to float32.
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


@dataclass(frozen=True)
class _Type:
    dtype: str

    @property
    def itemsize(self) -> int:
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class _Storage:
    """A run of elements that lies elsewhere in the file."""

    type: _Type
    key: str
    elements: int


@dataclass(frozen=True)
class _Tensor:
    """A strided view of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Any:
    if storage is SKIPPED:  # of a type of elements that no supported model has
        return SKIPPED
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise MalformedError("a tensor is not described by a storage, a shape and strides")
    if len(shape) > _DIMENSIONS or len(shape) != len(stride):
        raise MalformedError("a tensor has an impossible shape")
    if not all(type(n) is int and 0 <= n < 2**48 for n in (offset, *shape, *stride)):
        raise MalformedError("a tensor has an impossible shape")
    return _Tensor(storage, offset, shape, stride)


def _dict(items: Any = ()) -> dict[Any, Any]:
    """An ordered dictionary; Python 2 gave its items along."""
    found = {}
    for item in items if isinstance(items, list) else ():
        match item:
            case [str() | int() as key, value]:
                found[key] = value
            case _:
                raise MalformedError("a dictionary is not described as torch does")
    return found


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Function(_dict),
    ("torch._utils", "_rebuild_tensor"): Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): Function(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Function(_parameter),
    **{("torch", name): _Type(dtype) for name, dtype in STORAGES.items()},
}


Choose = Callable[[Any, list[str]], dict[str, _Tensor]]  # of a loaded object and the names of what was skipped in it


class _Programs(Machine):
    """The programs of one file, and the storages that they speak of."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, _NAMES, self._storage)
        self.storages: dict[str, _Storage] = {}

    def _storage(self, pid: Any) -> Any:
        match pid:
            case ("module", *_) | ("storage", Skipped(), *_):
                return SKIPPED
            case ("storage", _Type() as kind, str() | int() as key, _, int() as elements, *rest) if not any(rest):
                found = _Storage(kind, str(key), elements)
                if self.storages.setdefault(found.key, found) != found:
                    raise MalformedError(f"storage {found.key[:40]!r} is described in two ways")
                return found
        raise MalformedError("a storage is not described as torch does")


def read_pth(path: str | Path, part: str = "") -> dict[str, np.ndarray]:
    """The tensors of a state dict by name.

    The state dict may be the file's object itself, or stand in a checkpoint under one of the keys of `parts.KEYS`. What
    else a checkpoint holds (optimizers, hyper-parameters) is skipped; objects among it are named on stderr.

    Args:
        path: a `.pth`, `.pt` or `.ckpt` file, zip or legacy.
        part: which state dict, see `parts.state_dict`.

    Returns:
        Arrays of their own memory, in the file's dtypes; bfloat16 as float32.

    Raises:
        WeightsError: unreadable, truncated, not a weights file, or one that wants to run code.
    """
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            zipped = file.read(len(MAGIC)) == MAGIC
            file.seek(0)

            def choose(loaded: Any, skipped: list[str]) -> dict[str, _Tensor]:
                found = state_dict(loaded, lambda value: isinstance(value, _Tensor), part, str(path), skipped)
                if skipped:
                    say(f"{path}: skipped objects beside the tensors: {listed(skipped)}")
                return found

            return _read_zip(Archive(file, size), choose) if zipped else _read_legacy(file, size, choose)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None
    except MalformedError as error:
        raise WeightsError(f"refused {path}: {error}") from None


def _read_zip(archive: Archive, choose: Choose) -> dict[str, np.ndarray]:
    if any("/code/" in name or name.endswith("constants.pkl") for name in archive.names):
        raise MalformedError("it is a TorchScript archive, which holds code: save the state_dict instead")
    pickles = [name for name in archive.names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise MalformedError(f"it has {len(pickles)} records named data.pkl, expected one")
    folder = pickles[0].removesuffix("data.pkl")
    swapped = f"{folder}byteorder" in archive.names and archive.read(f"{folder}byteorder").strip() == b"big"
    programs = _Programs(io.BytesIO(archive.read(pickles[0])))
    tensors = choose(programs.run(), programs.skipped)
    read: dict[str, np.ndarray] = {}
    for tensor in tensors.values():
        storage = tensor.storage
        if storage.key not in read:
            read[storage.key] = _elements(archive.read(f"{folder}data/{storage.key}"), storage, swapped)
    return _views(tensors, read, archive.size)


def _read_legacy(file: BinaryIO, size: int, choose: Choose) -> dict[str, np.ndarray]:
    if file.read(1) != b"\x80":
        raise MalformedError("it is not a torch file: it begins neither as a zip nor as a pickle")
    file.seek(0)
    programs = _Programs(file)
    if programs.run() != LEGACY_MAGIC:
        raise MalformedError("it is not a torch file: its first number is not torch's")
    programs.run()  # protocol version
    system = programs.run()
    swapped = isinstance(system, dict) and system.get("little_endian") is False
    tensors = choose(programs.run(), programs.skipped)
    read: dict[str, np.ndarray] = {}
    keys = programs.run()
    if not isinstance(keys, list) or not all(isinstance(key, (str, int)) for key in keys):
        raise MalformedError("its list of storages is none")
    for key in map(str, keys):
        if key not in programs.storages or key in read:
            raise MalformedError(f"storage {key[:40]!r} belongs to nothing in the file, or is there twice")
        count = int.from_bytes(file.read(8), "little", signed=True)
        length = count * programs.storages[key].type.itemsize
        if not 0 <= length <= size - file.tell():
            raise MalformedError(
                f"it is truncated: storage {key[:40]!r} has {length:,} bytes, the rest of the file is shorter"
            )
        read[key] = _elements(file.read(length), programs.storages[key], swapped)
    return _views(tensors, read, size)


def _elements(content: bytes, storage: _Storage, swapped: bool) -> np.ndarray:
    if len(content) != storage.elements * storage.type.itemsize:
        raise MalformedError(
            f"storage {storage.key[:40]!r} has {len(content):,} bytes for {storage.elements:,} elements"
        )
    if storage.type.dtype == "bfloat16":
        bits = np.frombuffer(content, ">u2" if swapped else "<u2")
        return (bits.astype(np.uint32) << 16).view(np.float32)
    array = np.frombuffer(content, storage.type.dtype)
    return array.byteswap() if swapped else array


def _views(tensors: dict[str, _Tensor], read: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """The tensors, cut out; many on one storage cannot take more memory than some copies of the file."""
    found, room = {}, _COPIES * size
    for name, tensor in tensors.items():
        if tensor.storage.key not in read:
            raise MalformedError(f"storage {tensor.storage.key[:40]!r} is missing")
        elements = read[tensor.storage.key]
        room -= math.prod(tensor.shape) * elements.itemsize
        if room < 0:
            raise MalformedError(f"its tensors take more than {_COPIES} times the bytes of the file")
        found[name] = _view(tensor, elements)
    return found


def _view(tensor: _Tensor, elements: np.ndarray) -> np.ndarray:
    count = math.prod(tensor.shape)
    if count == 0:
        if math.prod(filter(None, tensor.shape)) >= 2**48:
            raise MalformedError("a tensor has an impossible shape")
        return np.zeros(tensor.shape, elements.dtype)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
    if last >= len(elements) or count > len(elements):
        raise MalformedError(f"a tensor of shape {tensor.shape} does not lie within its storage")
    strides = [step * elements.itemsize for step in tensor.stride]
    return np.array(np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, strides, writeable=False))
