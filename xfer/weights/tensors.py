"""Reads safetensors: a length, a JSON header and the tensors end to end (https://github.com/huggingface/safetensors).

Nothing of the header is believed before it is checked against the size of the file, so no lie in it takes memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from xfer.runtime.strict_json import parse
from xfer.weights.malformed import MalformedError

MAX_HEADER = 8 << 20  # bytes; a network of 10,000 tensors has one
_DIMENSIONS = 32
_LARGEST = 1 << 48

KINDS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "u1",
}


@dataclass(frozen=True)
class _Entry:
    name: str
    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_safetensors(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """The tensors by name, in the order in which they lie in the file.

    Args:
        file: at its beginning.
        size: of the file in bytes.

    Returns:
        Arrays of their own memory, together as large as the file; bfloat16 is widened to float32.

    Raises:
        MalformedError: a header that is not one, or does not describe the very bytes that follow it.
    """
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= size - 8:
        raise MalformedError(f"its header has {length:,} bytes, the file {size:,}")
    if length > MAX_HEADER:
        raise MalformedError(f"its header has {length:,} bytes: more than {MAX_HEADER:,} is refused")
    arrays, at = {}, 0
    for entry in _entries(file.read(length)):
        if entry.begin != at:
            raise MalformedError(f"tensor {entry.name[:80]!r} begins at byte {entry.begin:,}, expected {at:,}")
        if entry.end > size - 8 - length:
            raise MalformedError(f"tensor {entry.name[:80]!r} ends after the file: it is truncated")
        arrays[entry.name] = _read(file, entry)
        at = entry.end
    if at != size - 8 - length:
        raise MalformedError(f"{size - 8 - length - at:,} bytes belong to no tensor")
    return arrays


def _entries(header: bytes) -> list[_Entry]:
    try:
        document = parse(header)
    except ValueError as error:
        raise MalformedError(f"its header is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise MalformedError("its header is no JSON object")
    document.pop("__metadata__", None)
    return sorted((_entry(name, given) for name, given in document.items()), key=lambda entry: (entry.begin, entry.end))


def _entry(name: str, given: Any) -> _Entry:
    match given:
        case {"dtype": str() as kind, "shape": list() as shape, "data_offsets": [begin, end], **rest} if not rest:
            numbers = (begin, end, *shape)
        case _:
            raise MalformedError(f"tensor {name[:80]!r} is not described by dtype, shape and data_offsets")
    if kind not in KINDS:
        raise MalformedError(f"tensor {name[:80]!r} has dtype {kind[:20]!r}, which no supported model uses")
    if len(shape) > _DIMENSIONS or not all(type(number) is int and 0 <= number < _LARGEST for number in numbers):
        raise MalformedError(f"tensor {name[:80]!r} has an impossible shape or place")
    if math.prod(shape) * np.dtype(KINDS[kind]).itemsize != end - begin or math.prod(filter(None, shape)) > _LARGEST:
        raise MalformedError(f"tensor {name[:80]!r} of shape {shape} does not have {end - begin:,} bytes")
    return _Entry(name, kind, tuple(shape), begin, end)


def _read(file: BinaryIO, entry: _Entry) -> np.ndarray:
    array = np.empty(entry.shape, KINDS[entry.kind])
    if array.size:
        content = file.read(array.nbytes)
        if len(content) != array.nbytes:
            raise MalformedError("it is truncated")
        array.reshape(-1).view(np.uint8)[:] = np.frombuffer(content, np.uint8)
    if entry.kind == "BF16":
        return np.asarray((array.astype(np.uint32) << 16).view(np.float32))
    if entry.kind == "BOOL":
        if array.size and array.max() > 1:
            raise MalformedError(f"tensor {entry.name[:80]!r} has truth values other than 0 and 1")
        return array.view(np.bool_)
    return array
