"""Cached features in place of images, or of augmented views of images, memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from xfer.data.images.decode import BadImageError


@dataclass(frozen=True, eq=False)
class CachedFeatures:
    """One row an image; what could not be read says so when it is asked for.

    Args:
        stores: arrays (n, ...) that rows are in.
        places: int64 (N, 2), the store of each row and its number there.
        reasons: why there is no row, by index.
    """

    stores: Sequence[np.ndarray]
    places: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> np.ndarray:
        if index in self.reasons:
            raise BadImageError(self.reasons[index])
        store, number = self.places[index]
        return np.asarray(self.stores[store][number])


@dataclass(frozen=True, eq=False)
class AugmentedFeatures:
    """Several rows an image, one for each of its views and repetitions in an epoch.

    Args:
        rows: in the order of `codes`.
        codes: sorted; see `view_codes`.
        images: how many images there are.
    """

    rows: CachedFeatures
    codes: np.ndarray
    images: int

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> np.ndarray:
        return self.at(0, index, 0)

    def at(self, view: int, index: int, nth: int) -> np.ndarray:
        """The row of a view of an image, the n-th time that an epoch repeats it."""
        code = view_codes(np.array([[view, index, nth]]))[0]
        place = int(np.searchsorted(self.codes, code))
        if place == len(self.codes) or self.codes[place] != code:
            raise KeyError(f"there is no row for view {view} of image {index}, repetition {nth}")
        return self.rows[place]


def view_codes(keys: np.ndarray) -> np.ndarray:
    """One int64 for each key (view, index, repetition) of int64 (N, 3): views below 2^11, repetitions below 2^20."""
    view, index, nth = keys.astype(np.int64).T
    return np.asarray((view << 52) | (nth << 32) | index)


def view_keys(codes: np.ndarray) -> np.ndarray:
    """The keys of codes, int64 (N, 3)."""
    return np.column_stack([codes >> 52, codes & 0xFFFFFFFF, (codes >> 32) & 0xFFFFF])
