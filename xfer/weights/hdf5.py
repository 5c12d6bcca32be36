"""Reads HDF5 files as h5py writes them by default, without the HDF5 library.

The library follows whatever a file says: to other files, into filters, and, in files of a few changed bytes, round in
circles for ever. This reader knows what weights need and h5py's default settings write: superblock 0 or 1, object
headers 1, groups with symbol tables, attributes of text, and tensors that lie in the file as they are. Anything else is
refused. Every address is checked against the file, and the steps, texts and tensors that a file may cost are counted.
Format: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from xfer.weights.malformed import MalformedError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_STEPS = 1_000_000  # messages, links and texts; a network of 1,000 layers takes 20,000
MAX_TEXT = 64 << 20  # bytes of all headers and names together
_NOWHERE = 2**64 - 1
_DIMENSIONS = 32

_SPACE, _LINK_INFO, _TYPE, _LINK, _ELSEWHERE, _LAYOUT = 0x1, 0x2, 0x3, 0x6, 0x7, 0x8
_FILTERS, _ATTRIBUTE, _CONTINUED, _TABLE = 0xB, 0xC, 0x10, 0x11
_NEVER = {
    _LINK_INFO: "a link that leads elsewhere, or groups of libver='latest'",
    _LINK: "a link that leads elsewhere, or groups of libver='latest'",
    _ELSEWHERE: "data in other files",
    _FILTERS: "filters",
}
# IEEE 754: bit offset, precision, exponent's place and size, mantissa's place and size, bias.
_FLOATS = {
    struct.pack("<HHBBBBI", 0, 16, 10, 5, 0, 10, 15): "f2",
    struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 127): "f4",
    struct.pack("<HHBBBBI", 0, 64, 52, 11, 0, 52, 1023): "f8",
}


@dataclass(frozen=True)
class Node:
    """A group or a tensor.

    Args:
        messages: what its header says: type and content.
        children: addresses by name.
    """

    messages: tuple[tuple[int, bytes], ...]
    children: dict[str, int]


class Hdf5:
    """One file.

    Args:
        file: with random access.
        size: its bytes.

    Raises:
        MalformedError: it is no such file. All methods raise it for what weights never need.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._steps, self._text, self._room = MAX_STEPS, MAX_TEXT, size
        self._heaps: dict[int, dict[int, bytes]] = {}
        head = self._at(0, 96)
        version, offsets, lengths = head[8], head[13], head[14]
        if head[:8] != SIGNATURE or version > 1 or (offsets, lengths) != (8, 8):
            raise MalformedError("it is no HDF5 file as h5py writes it by default (superblock 0)")
        base, _, _, driver, _, root = struct.unpack_from("<6Q", head, 24 + 4 * version)
        if base or driver != _NOWHERE:
            raise MalformedError("it is one of several files")
        self.root = self.node(root)

    def node(self, address: int) -> Node:
        """The object at an address."""
        version, _, count, _, length = struct.unpack("<BBHII", self._at(address, 12))
        if version != 1:
            raise MalformedError("it has objects of another version than h5py writes by default")
        messages: list[tuple[int, bytes]] = []
        blocks: list[tuple[int, ...]] = [(address + 16, length)]
        for start, size in blocks:
            block, at = self._at(start, self._paid(size)), 0
            while at + 8 <= size and len(messages) < count:
                kind, inside, flags = struct.unpack_from("<HHB", block, at)
                content = block[at + 8 : at + 8 + inside]
                if len(content) != inside:
                    raise MalformedError("a header is cut off")
                if kind in _NEVER or (flags & 2 and kind in (_SPACE, _TYPE, _ATTRIBUTE, _TABLE, _LAYOUT)):
                    raise MalformedError(f"it has {_NEVER.get(kind, 'types by name')}, which weights never need")
                if kind == _CONTINUED:
                    blocks.append(_unpack("<QQ", content))
                messages.append((kind, content))
                self._step()
                at += 8 + inside
        tables = [content for kind, content in messages if kind == _TABLE]
        children = dict(self._links(*_unpack("<QQ", tables[0]))) if tables else {}
        return Node(tuple(messages), children)

    def _links(self, tree: int, heap: int) -> Iterator[tuple[str, int]]:
        """Names and addresses of a group's children."""
        signature, _, length, _, start = struct.unpack("<4s4sQQQ", self._at(heap, 32))
        if signature != b"HEAP":
            raise MalformedError("the names of a group are missing")
        names = self._at(start, self._paid(length))
        for leaf in self._leaves(tree, None):
            signature, _, _, count = struct.unpack("<4sBBH", self._at(leaf, 8))
            if signature != b"SNOD":
                raise MalformedError("the members of a group are missing")
            for entry in range(count):
                name, address, kind = struct.unpack_from("<QQI", self._at(leaf + 8 + 40 * entry, 40))
                end = names.find(b"\0", name)
                if kind == 2 or end < 0:
                    raise MalformedError("it has a link that leads elsewhere, which weights never need")
                self._step()
                yield _text(names[name : name + self._paid(end - name)]), address

    def _leaves(self, tree: int, expected: int | None) -> Iterator[int]:
        """Addresses of the leaves of a group's tree; the levels only go down, so that it ends."""
        signature, kind, level, count = struct.unpack("<4sBBH", self._at(tree, 8))
        if signature != b"TREE" or kind != 0 or (level > 32 if expected is None else level != expected):
            raise MalformedError("the tree of a group is damaged")
        for entry in range(count):
            (child,) = struct.unpack("<Q", self._at(tree + 32 + 16 * entry, 8))
            self._step()
            if level:
                yield from self._leaves(child, level - 1)
            else:
                yield child

    def texts(self, node: Node, name: str) -> list[str] | None:
        """The texts of an attribute, one in all where it is no list; None where there is no such attribute."""
        for kind, content in node.messages:
            if kind == _ATTRIBUTE:
                found, kind_of, shape, values = _attribute(content)
                if found == name:
                    return self._texts(kind_of, math.prod(shape), values)
        return None

    def _texts(self, kind: bytes, count: int, values: bytes) -> list[str]:
        if count == 0:
            return []
        (width,) = _unpack("<I", kind[4:8])
        if kind[0] & 15 == 3 and width > 0 and count * width <= len(values):
            each = [values[at : at + width].rstrip(b"\0") for at in range(0, count * width, width)]
        elif kind[0] & 15 == 9 and kind[1] & 15 == 1 and count * 16 <= len(values):
            each = [self._in_heap(*struct.unpack_from("<IQI", values, 16 * i)) for i in range(count)]
        else:
            raise MalformedError("an attribute is no text")
        return [_text(found) for found in each]

    def _in_heap(self, length: int, heap: int, index: int) -> bytes:
        self._step()
        if heap not in self._heaps:
            self._heaps[heap] = dict(self._objects(heap))
        found = self._heaps[heap].get(index, b"")
        if len(found) < length:
            raise MalformedError("a text is missing")
        self._paid(length)
        return found[:length].rstrip(b"\0")

    def _objects(self, heap: int) -> Iterator[tuple[int, bytes]]:
        signature, size = struct.unpack("<4s4xQ", self._at(heap, 16))
        if signature != b"GCOL":
            raise MalformedError("a text is missing")
        content, at = self._at(heap, self._paid(size)), 16
        while at + 16 <= size:
            index, length = struct.unpack_from("<H6xQ", content, at)
            if index == 0:
                return
            self._step()
            yield index, content[at + 16 : at + 16 + length]
            at += 16 + (length + 7) // 8 * 8

    def tensor(self, node: Node) -> np.ndarray:
        """Numbers of floating point, of memory of their own."""
        said = dict(node.messages)
        if not {_SPACE, _TYPE, _LAYOUT} <= said.keys():
            raise MalformedError("a tensor is not described")
        shape, dtype, layout = _shape(said[_SPACE]), _float(said[_TYPE]), said[_LAYOUT]
        length = math.prod(shape) * dtype.itemsize
        if layout[:2] == b"\x03\x01":
            address, held = _unpack("<QQ", layout[2:])
            content = self._at(address, length) if length and held == length else b""
        elif layout[:2] == b"\x03\x00":
            content = layout[4:]
            (held,) = _unpack("<H", layout[2:])
        else:
            raise MalformedError("a tensor is not stored as Keras does: in one micro_batch, in this file")
        if held != length or len(content) < length or math.prod(filter(None, shape)) >= 2**48:
            raise MalformedError(f"a tensor has {held:,} bytes here for {length:,}: not stored as Keras does")
        self._room -= length
        if self._room < 0:
            raise MalformedError(f"its tensors have more bytes than the file, which has {self._size:,}")
        return np.frombuffer(bytearray(content[:length]), dtype).reshape(shape)

    def _at(self, address: int, count: int) -> bytes:
        if count > self._size - address:
            raise MalformedError("it is truncated, or an address leads out of the file")
        self._file.seek(address)
        return self._file.read(count)

    def _step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise MalformedError(f"it has more than {MAX_STEPS:,} parts")

    def _paid(self, length: int) -> int:
        self._text -= length
        if self._text < 0:
            raise MalformedError(f"it has headers and names of more than {MAX_TEXT >> 20} MiB")
        return length


def _attribute(content: bytes) -> tuple[str, bytes, tuple[int, ...], bytes]:
    """Name, type, shape and bytes of an attribute."""
    version, flags, name, kind, space = _unpack("<BBHHH", content)
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise MalformedError("an attribute is of another version than h5py writes by default")
    at = 9 if version == 3 else 8
    parts = []
    for length in (name, kind, space):
        parts.append(content[at : at + length])
        at += (length + 7) // 8 * 8 if version == 1 else length
    if len(parts[1]) < 8:
        raise MalformedError("an attribute is cut off")
    return _text(parts[0].rstrip(b"\0")), parts[1], _shape(parts[2]), content[at:]


def _shape(content: bytes) -> tuple[int, ...]:
    version, rank, kind = _unpack("<BBxB", content)
    if version not in (1, 2) or rank > _DIMENSIONS or (version == 2 and kind > 1):
        raise MalformedError("a shape is of another version than h5py writes by default")
    return _unpack(f"<{rank}Q", content[8 if version == 1 else 4 :])


def _float(content: bytes) -> np.dtype[np.floating]:
    found = _FLOATS.get(content[8:20])
    order = {0: "<", 1: ">"}.get(content[1] & 65) if len(content) >= 20 else None
    if content[0] & 15 != 1 or found is None or order is None or _unpack("<I", content[4:])[0] != int(found[1]):
        raise MalformedError("a tensor has another dtype: expected a float")
    return np.dtype(order + found)


def _unpack(form: str, content: bytes) -> tuple[int, ...]:
    if len(content) < struct.calcsize(form):
        raise MalformedError("a header is cut off")
    return struct.unpack_from(form, content)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError("a name is not UTF-8") from None
