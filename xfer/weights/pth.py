"""Reads torch's `.pth` files without torch and without executing a pickle.

A pickle is a program. This reader runs it with an allow-list of names that only describe tensors; any other name is
refused before it is looked up. Tensors are then cut out of the storages in the file, within their bounds.
Formats: the zip of torch 1.6 and later, and the older sequence of pickles (torch/serialization.py).
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from xfer.errors import WeightsError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MAX_PICKLE = 64 << 20  # bytes; the pickle of the largest published state dict is under 1 MiB
NESTED = ("state_dict", "model_state_dict", "model", "net")  # where training scripts put the state dict

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


class MalformedError(Exception):
    """The bytes are not what torch writes; the message says why."""


class _Inert:
    """What the allow-list gives to a pickle. A pickle's BUILD could set attributes; here it is refused."""

    def __setstate__(self, state: object) -> None:
        raise MalformedError("it tries to change an object of the reader")


@dataclass(frozen=True)
class _Type(_Inert):
    dtype: str

    @property
    def itemsize(self) -> int:
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class _Storage(_Inert):
    """A run of elements that lies elsewhere in the file."""

    type: _Type
    key: str
    elements: int


@dataclass(frozen=True)
class _Tensor(_Inert):
    """A strided view of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Builder(_Inert):
    """A function that a pickle may call."""

    build: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.build(*arguments)


class _Dict(OrderedDict[Any, Any]):
    """An ordered dictionary; the attributes that torch pickles with it (`_metadata`) are dropped."""

    def __setstate__(self, state: object) -> None:
        pass


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise MalformedError("a tensor is not described by a storage, a shape and strides")
    if len(shape) != len(stride) or not all(type(n) is int and 0 <= n < 2**48 for n in (offset, *shape, *stride)):
        raise MalformedError("a tensor has an impossible shape")
    return _Tensor(storage, offset, shape, stride)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dict,
    ("torch._utils", "_rebuild_tensor"): _Builder(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Builder(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Builder(lambda tensor, *_: tensor),
    **{("torch", name): _Type(dtype) for name, dtype in STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Knows the names of tensors, and imports nothing."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise MalformedError(f"it asks for {module}.{name}, which no weights file needs")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _Type() as kind, str() | int() as key, _, int() as elements, *rest) if rest in (
                [],
                [None],
            ):
                return self.storages.setdefault(str(key), _Storage(kind, str(key), elements))
        raise MalformedError("a storage is not described as torch does")


def read_pth(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name.

    The state dict may be the file's object itself, or stand in a checkpoint under "state_dict", "model_state_dict",
    "model" or "net". A prefix `module.` that all names share (DataParallel) is removed.

    Args:
        path: a `.pth` or `.pt` file, zip or legacy.

    Returns:
        Arrays of their own memory, in the file's dtypes; bfloat16 as float32.

    Raises:
        WeightsError: unreadable, truncated, not a weights file, or one that wants to run code.
    """
    try:
        with Path(path).open("rb") as file:
            found = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None
    except MalformedError as error:
        raise WeightsError(f"refused {path}: {error}") from None
    except Exception as error:  # a corrupt pickle or zip can fail in any way; nothing but a refusal may come of it
        detail = str(error) or type(error).__name__
        raise WeightsError(f"{path} is damaged or not a torch file: {detail.splitlines()[0]}") from None
    return _without_prefix(found)


def _read_zip(file: BinaryIO) -> dict[str, np.ndarray]:
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in entries if name.endswith("/data.pkl")]
        if any("/code/" in name or name.endswith("constants.pkl") for name in entries):
            raise MalformedError("it is a TorchScript archive, which holds code: save the state_dict instead")
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size for entry in entries.values()):
            raise MalformedError("its records are compressed or larger than the file, which torch never writes")
        if len(pickles) != 1:
            raise MalformedError(f"it has {len(pickles)} records named data.pkl, expected one")
        if entries[pickles[0]].file_size > MAX_PICKLE:
            raise MalformedError("its pickle is too large for a weights file")
        folder = pickles[0].removesuffix("data.pkl")
        swapped = f"{folder}byteorder" in entries and archive.read(f"{folder}byteorder").strip() == b"big"
        tensors = _state_dict(_Unpickler(io.BytesIO(archive.read(pickles[0]))).load())
        read: dict[str, np.ndarray] = {}
        for tensor in tensors.values():
            storage = tensor.storage
            if storage.key not in read:
                read[storage.key] = _elements(archive.read(f"{folder}data/{storage.key}"), storage, swapped)
        return {name: _view(tensor, read[tensor.storage.key]) for name, tensor in tensors.items()}


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)

    if _Unpickler(file).load() != LEGACY_MAGIC:
        raise MalformedError("it is not a torch file: its first number is not torch's")
    _Unpickler(file).load()  # protocol version
    system = _Unpickler(file).load()
    swapped = isinstance(system, dict) and system.get("little_endian") is False
    unpickler = _Unpickler(file)
    tensors = _state_dict(unpickler.load())
    read: dict[str, np.ndarray] = {}
    for key in map(str, _Unpickler(file).load()):
        if key not in unpickler.storages:
            raise MalformedError(f"storage {key} belongs to nothing in the file")
        (count,) = struct.unpack("<q", file.read(8))
        length = count * unpickler.storages[key].type.itemsize
        if not 0 <= length <= size - file.tell():
            raise MalformedError(
                f"it is truncated: storage {key} has {length:,} bytes, the rest of the file is shorter"
            )
        read[key] = _elements(file.read(length), unpickler.storages[key], swapped)
    return {name: _view(tensor, read[tensor.storage.key]) for name, tensor in tensors.items()}


def _state_dict(loaded: Any) -> dict[str, _Tensor]:
    """The named tensors of a loaded object; other values beside them are left out."""
    candidates = [loaded]
    if isinstance(loaded, dict):
        candidates += [loaded[key] for key in NESTED if isinstance(loaded.get(key), dict)]
    for candidate in reversed(candidates):
        if isinstance(candidate, dict):
            tensors = {str(k): v for k, v in candidate.items() if isinstance(v, _Tensor)}
            if tensors:
                return tensors
    raise MalformedError("it has no state dict: save model.state_dict(), not the model or an optimizer")


def _elements(content: bytes, storage: _Storage, swapped: bool) -> np.ndarray:
    if len(content) != storage.elements * storage.type.itemsize:
        raise MalformedError(f"storage {storage.key} has {len(content):,} bytes for {storage.elements:,} elements")
    if storage.type.dtype == "bfloat16":
        bits = np.frombuffer(content, ">u2" if swapped else "<u2")
        return (bits.astype(np.uint32) << 16).view(np.float32)
    array = np.frombuffer(content, storage.type.dtype)
    return array.byteswap() if swapped else array


def _view(tensor: _Tensor, elements: np.ndarray) -> np.ndarray:
    count = math.prod(tensor.shape)
    if count == 0:
        return np.zeros(tensor.shape, elements.dtype)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
    if last >= len(elements) or count > len(elements):
        raise MalformedError(f"a tensor of shape {tensor.shape} does not lie within its storage")
    strides = [step * elements.itemsize for step in tensor.stride]
    return np.array(np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, strides, writeable=False))


def _without_prefix(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if all(name.startswith("module.") for name in arrays):
        return {name.removeprefix("module."): array for name, array in arrays.items()}
    return arrays
