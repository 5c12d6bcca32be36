"""Outputs of a block in the place of images, mapped into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from xfer.data.decode import BadImageError


@dataclass(frozen=True, eq=False)
class Rows:
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
