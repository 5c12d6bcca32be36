"""Sequences of images one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xfer.data.dataset import Images, detached


class Chain(Sequence[Any]):
    """Images of several sequences, by one index."""

    def __init__(self, parts: Sequence[Images]) -> None:
        self._parts, self._ends = parts, np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        part = int(np.searchsorted(self._ends, place, side="right"))
        return self._parts[part][place - int(self._ends[part - 1] if part else 0)]

    def taken(self, indices: np.ndarray) -> Images:
        """These images, without the others."""
        parts = np.searchsorted(self._ends, indices, side="right")
        runs = np.split(np.arange(len(indices)), np.flatnonzero(np.diff(parts)) + 1) if len(indices) else []
        begins = np.concatenate([[0], self._ends])
        return Chain([detached(self._parts[parts[run[0]]], indices[run] - begins[parts[run[0]]]) for run in runs])
