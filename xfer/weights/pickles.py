"""An interpreter for the pickles in torch's files, and for no others, without Python's `pickle`.

A pickle is a program for a stack. Python's machine imports what a program names, calls what it likes, takes memory for
lengths that it only claims, and hashes whatever it has nested into a key. This one knows the instructions that torch
writes (protocols 2 to 5) and a table of names that only describe tensors. An object of any other name, such as the
`argparse.Namespace` that a training script saves beside its weights, is skipped: the name is not looked up, nothing is
called, what the program puts into the object is dropped, and `SKIPPED` stands in its place. Instructions and bytes are
counted, so that time and memory are bounded. torch's own `weights_only` reader is a machine of the same kind
(torch/_weights_only_unpickler.py).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from xfer.weights.malformed import MalformedError

MAX_STEPS = 2_000_000  # a tensor takes about 50
MAX_BYTES = 16 << 20  # the pickle of the largest published state dict has under 1 MiB
_NAMED = 100  # names of skipped objects that are remembered


class Skipped:
    """Stands in place of every object that is neither a tensor nor a container."""


SKIPPED = Skipped()
_MARK = object()

# What an instruction puts on the stack: a fixed value, or a number of so many bytes.
_CONSTANTS: dict[int, Callable[[], Any]] = {
    ord("N"): lambda: None,
    0x88: lambda: True,
    0x89: lambda: False,
    ord(")"): tuple,
    ord("]"): list,
    ord("}"): dict,
    ord("("): lambda: _MARK,
}
_NUMBERS = {ord("K"): "<B", ord("M"): "<H", ord("J"): "<i", ord("G"): ">d"}
# Texts and bytes: the format of their length, and whether they are text.
_STRINGS = {
    ord("X"): ("<I", True),
    0x8C: ("<B", True),
    0x8D: ("<Q", True),
    ord("U"): ("<B", True),
    ord("T"): ("<I", True),
    ord("B"): ("<I", False),
    ord("C"): ("<B", False),
    0x8E: ("<Q", False),
}
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
_GET = {ord("h"): "<B", ord("j"): "<I"}
_PUT = {ord("q"): "<B", ord("r"): "<I"}
_OLD_OBJECTS = {ord("i"): "INST", ord("o"): "OBJ", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4"}


class Machine:
    """Runs programs one after another.

    Args:
        file: at the beginning of the first program; left after the end of the last that was run.
        names: what a program may name: a function that may be called, or a value.
        persistent: gives the object of a persistent id.

    Attributes:
        skipped: names of the first objects that were skipped, as "module.name".
    """

    def __init__(self, file: BinaryIO, names: Mapping[tuple[str, str], Any], persistent: Callable[[Any], Any]) -> None:
        self._file, self._names, self._persistent = file, names, persistent
        self._steps, self._bytes = MAX_STEPS, MAX_BYTES
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self.skipped: list[str] = []

    def run(self) -> Any:
        """What the next program makes.

        Raises:
            MalformedError: it is cut off, too long, or asks for what no weights file needs.
        """
        self._stack, self._memo = [], {}
        while (code := self._take(1)[0]) != ord("."):
            self._steps -= 1
            if self._steps < 0:
                raise MalformedError(f"its pickle has more than {MAX_STEPS:,} instructions")
            self._step(code)
        return self._pop()

    def _step(self, code: int) -> None:
        if code in _CONSTANTS:
            self._stack.append(_CONSTANTS[code]())
        elif code in _NUMBERS:
            self._stack.append(self._number(_NUMBERS[code]))
        elif code in _GET:
            self._stack.append(self._recalled(self._number(_GET[code])))
        elif code in _PUT:
            self._memo[self._number(_PUT[code])] = self._top()
        elif code in _STRINGS:
            self._stack.append(self._string(*_STRINGS[code]))
        elif code in _TUPLES:
            self._stack.append(self._last(_TUPLES[code]))
        elif code in _OLD_OBJECTS:
            raise MalformedError(f"it wants to build an object ({_OLD_OBJECTS[code]}), which no weights file needs")
        else:
            action = _ACTIONS.get(code)
            if action is None:
                raise MalformedError(f"its pickle has the instruction {bytes([code])!r}, which torch does not write")
            action(self)

    def _take(self, count: int) -> bytes:
        """The next bytes; no memory is taken for bytes that are not there."""
        self._bytes -= count
        if self._bytes < 0:
            raise MalformedError(f"its pickle has more than {MAX_BYTES >> 20} MiB")
        found = self._file.read(count)
        if len(found) != count:
            raise MalformedError("its pickle is cut off")
        return found

    def _number(self, kind: str) -> Any:
        return struct.unpack(kind, self._take(struct.calcsize(kind)))[0]

    def _string(self, length: str, text: bool) -> str | bytes:
        content = self._take(self._number(length))
        try:
            return content.decode("utf-8", "surrogatepass") if text else content
        except UnicodeDecodeError:
            raise MalformedError("its pickle has a text that is not UTF-8") from None

    def _line(self) -> str:
        found = bytearray()
        while (byte := self._take(1)) != b"\n":
            found += byte
        return found.decode("utf-8", "replace")

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise MalformedError("its pickle takes from an empty stack")
        return self._stack.pop()

    def _top(self) -> Any:
        self._stack.append(found := self._pop())
        return found

    def _last(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self._pop() for _ in range(count)]))

    def _since_mark(self) -> list[Any]:
        found = []
        while self._stack and self._stack[-1] is not _MARK:
            found.append(self._stack.pop())
        if not self._stack:
            raise MalformedError("its pickle takes from an empty stack")
        self._stack.pop()
        return found[::-1]

    def _recalled(self, place: int) -> Any:
        if place not in self._memo:
            raise MalformedError("its pickle recalls what it never kept")
        return self._memo[place]

    def _long(self) -> None:
        self._stack.append(int.from_bytes(self._take(self._number("<B")), "little", signed=True))

    def _tuple(self) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _append(self, items: list[Any]) -> None:
        if (found := self._top()) is SKIPPED:
            return
        if not isinstance(found, list):
            raise MalformedError("its pickle appends to what is no list")
        found.extend(items)

    def _set(self, items: list[Any]) -> None:
        if (found := self._top()) is SKIPPED:
            return
        if not isinstance(found, dict) or len(items) % 2:
            raise MalformedError("its pickle sets items of what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, (str, int)):  # those of tensors; the hash of nested tuples could take for ever
                found[key] = value

    def _named(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise MalformedError("it asks for a name that is no text")
        if (module, name) not in self._names and len(self.skipped) < _NAMED:
            shown = f"{module[:80]}.{name[:80]}"
            self.skipped.append(shown if shown.isprintable() else ascii(shown))
        self._stack.append(self._names.get((module, name), SKIPPED))

    def _call(self) -> None:
        function, arguments = self._last(2)
        if function is SKIPPED:
            self._stack.append(SKIPPED)
            return
        if not isinstance(function, Function) or not isinstance(arguments, tuple):
            raise MalformedError("its pickle calls what is no function")
        self._stack.append(function(*arguments))

    def _new_object(self, count: int) -> None:
        """NEWOBJ and NEWOBJ_EX: a class and its arguments. No class is in the table of names."""
        if self._last(count)[0] is not SKIPPED:
            raise MalformedError("its pickle makes an object of what is no class")
        self._stack.append(SKIPPED)

    def _build(self) -> None:
        self._pop()
        found = self._top()
        if found is not SKIPPED and not isinstance(found, dict):  # whose attributes (torch's `_metadata`) are dropped
            raise MalformedError("it tries to change an object of the reader")


class Function:
    """A function that a program may call."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        """What it gives.

        Raises:
            MalformedError: arguments that it does not take.
        """
        try:
            return self._call(*arguments)
        except TypeError:
            raise MalformedError("a tensor is not described as torch does") from None


_ACTIONS: dict[int, Callable[[Machine], Any]] = {
    0x80: lambda m: m._take(1),  # the protocol
    0x95: lambda m: m._take(8),  # the length of a frame
    0x8A: Machine._long,
    0x94: lambda m: m._memo.__setitem__(len(m._memo), m._top()),
    ord("t"): Machine._tuple,
    ord("a"): lambda m: m._append([m._pop()]),
    ord("e"): lambda m: m._append(m._since_mark()),
    ord("s"): lambda m: m._set(list(m._last(2))),
    ord("u"): lambda m: m._set(m._since_mark()),
    ord("c"): lambda m: m._named(m._line(), m._line()),
    0x93: lambda m: m._named(*m._last(2)),
    ord("R"): Machine._call,
    0x81: lambda m: m._new_object(2),
    0x92: lambda m: m._new_object(3),
    ord("b"): Machine._build,
    ord("Q"): lambda m: m._stack.append(m._persistent(m._pop())),
    ord("0"): Machine._pop,
}
