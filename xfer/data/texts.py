"""Texts in one array of bytes: of a million paths Python would make a million objects, of 60 bytes and more each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, Self, overload

import numpy as np

_AT_ONCE = 4096
_CODEC = ("utf-8", "surrogatepass")  # every text of Python, those with bytes of a file's name that are no UTF-8 too


class Texts(Sequence[str]):
    """An immutable sequence of texts, equal to a tuple of them; each takes its bytes in UTF-8, and 8 more.

    Args:
        content: the texts one after the other.
        ends: int64 (N + 1,), where each begins, and where the last one ends.
    """

    __slots__ = ("content", "ends")

    def __init__(self, content: bytes, ends: np.ndarray) -> None:
        self.content, self.ends = content, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Texts in their order; those that are a `Texts` already as they are."""
        return texts if isinstance(texts, Texts) else TextBuilder().extend(texts).build()

    @classmethod
    def joined(cls, *parts: Iterable[str]) -> Texts:
        """Several sequences one after the other."""
        builder = TextBuilder()
        for part in parts:
            builder.append(cls.of(part))
        return builder.build()

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        place = range(len(self))[index]  # of one before the first or after the last, IndexError
        return self.content[self.ends[place] : self.ends[place + 1]].decode(*_CODEC)

    def __iter__(self) -> Iterator[str]:
        content = self.content
        for start in range(0, len(self), _AT_ONCE):
            for first, last in pairwise(self.ends[start : start + _AT_ONCE + 1].tolist()):
                yield content[first:last].decode(*_CODEC)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Texts):
            return self.content == other.content and np.array_equal(self.ends, other.ends)
        if isinstance(other, tuple):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.content, self.ends)

    def take(self, indices: np.ndarray) -> Texts:
        """The texts at `indices`, int64 (M,), in that order."""
        first, lengths = self.ends[:-1], np.diff(self.ends)
        ends = np.zeros(len(indices) + 1, np.int64)
        np.cumsum(lengths[indices], out=ends[1:])
        parts = []
        for start in range(0, len(indices), _AT_ONCE):
            chosen = indices[start : start + _AT_ONCE]
            begins = first[chosen]
            places = zip(begins.tolist(), (begins + lengths[chosen]).tolist(), strict=True)
            parts.append(b"".join([self.content[begin:end] for begin, end in places]))
        return Texts(b"".join(parts), ends)


class TextBuilder:
    """Makes a `Texts` piece by piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._lengths = array("q")

    def __len__(self) -> int:
        return len(self._lengths)

    def extend(self, texts: Iterable[str]) -> Self:
        """Put texts behind those that are there."""
        each = iter(texts)
        while some := [text.encode(*_CODEC) for text in islice(each, _AT_ONCE)]:
            self._parts.append(b"".join(some))
            self._lengths.extend(map(len, some))
        return self

    def append(self, texts: Texts) -> Self:
        """The same, without an object for each."""
        self._parts.append(texts.content)
        self._lengths.frombytes(np.diff(texts.ends).tobytes())
        return self

    def build(self) -> Texts:
        """The texts. What was put in as one piece is not copied."""
        ends = np.zeros(len(self._lengths) + 1, np.int64)
        np.cumsum(np.frombuffer(self._lengths, np.int64), out=ends[1:])
        return Texts(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts), ends)


def taken(texts: Sequence[str], indices: np.ndarray) -> Texts:
    """The texts at `indices`, int64 (M,), in that order."""
    return Texts.of(texts).take(indices)


def firsts(texts: Sequence[str]) -> np.ndarray:
    """For each text the index of the first that equals it, int64 (N,): its own where it has not been there before.

    Texts are sorted by Python's hashes of them, 64 bits, and compared where these are equal.
    """
    number = np.arange(len(texts))
    hashes = np.fromiter(map(hash, texts), np.int64, len(texts))
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    begins = np.concatenate([number[:1] == 0, hashes[1:] != hashes[:-1]])
    found = np.empty(len(texts), np.int64)
    found[order] = order[np.maximum.accumulate(np.where(begins, number, 0))]
    repeated = np.flatnonzero(found != number)
    if all(texts[i] == texts[j] for i, j in zip(repeated.tolist(), found[repeated].tolist(), strict=True)):
        return found
    known: dict[str, int] = {}  # two texts of one hash
    return np.array([known.setdefault(text, i) for i, text in enumerate(texts)], np.int64)


def last_places(texts: Sequence[str], among: Sequence[str]) -> np.ndarray:
    """For each text the index of the last of `among` that equals it, int64 (N,); -1 where none does."""
    number = len(among)
    found = firsts(Texts.joined(Texts.of(among)[::-1], texts))[number:]
    return np.where(found < number, number - 1 - found, -1)
