"""What a stepper needs of the optimizer of a backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

Slots = Mapping[str, Mapping[str, np.ndarray]]


class UpdateRule(Protocol):
    """The optimizer of a backend, its state by canonical tensor name, arrays in torch's layouts."""

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of updates of each trainable tensor."""

    def slots(self) -> Slots:
        """Copies of the slots of each trainable tensor, zeros where there was no update yet."""

    def load(self, slots: Slots, counts: Mapping[str, int]) -> None:
        """Set the slots and counts of the tensors named."""
