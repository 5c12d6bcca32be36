"""A column of texts of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from xfer.data.empty import is_empty
from xfer.data.texts import TextBuilder, Texts


@dataclass(frozen=True, eq=False)
class Cells(Sequence[Any]):
    """Texts, None for those that are taken for no value.

    Args:
        texts: as the table has them.
        empty: those of them that are no value.
    """

    texts: Texts
    empty: frozenset[str]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Cells(self.texts[index], self.empty)
        text = self.texts[index]
        return None if text in self.empty else text

    def __iter__(self) -> Iterator[str | None]:
        return (None if text in self.empty else text for text in self.texts) if self.empty else iter(self.texts)

    def take(self, indices: np.ndarray) -> Cells:
        """The cells at `indices`, int64 (M,), in that order."""
        return Cells(self.texts.take(indices), self.empty)


class CellsBuilder:
    """Makes `Cells` piece by piece."""

    def __init__(self) -> None:
        self._texts, self._empty = TextBuilder(), set[str]()

    def extend(self, texts: Sequence[str]) -> Self:
        """Put texts behind those that are there."""
        self._texts.extend(texts)
        self._empty.update(text for text in set(texts) if is_empty(text))
        return self

    def append(self, texts: Texts) -> None:
        """Put texts behind those that are there, without an object for each."""
        self._texts.append(texts)
        self._empty.update(text for text in texts if is_empty(text))

    def build(self) -> Cells:
        """The column."""
        return Cells(self._texts.build(), frozenset(self._empty))
