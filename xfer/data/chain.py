"""Sequences of images one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xfer.data.dataset import Images


class Chain(Sequence[Any]):
    """Images of several sequences, by one index."""

    def __init__(self, parts: Sequence[Images]) -> None:
        self._parts, self._ends = parts, np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        part = int(np.searchsorted(self._ends, place, side="right"))
        return self._parts[part][place - int(self._ends[part - 1] if part else 0)]
