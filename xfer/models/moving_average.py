"""An exponential moving average of a model's tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from xfer.models.base_model import BaseModel


class MovingAverage:
    """What torch's `AveragedModel` with `get_ema_multi_avg_fn(decay)` and `use_buffers=True` computes.

    The average begins with the tensors as they are when it is told to hold them, and moves by (1 - decay) of the
    difference at each update; integers, such as the counters of a wrapped network, are those of the model.

    This one computes on the host; a backend overrides all of it where its tensors are elsewhere.

    Args:
        model: the model.
        decay: above 0, below 1.
    """

    def __init__(self, model: BaseModel, decay: float) -> None:
        self.model, self.decay = model, decay
        self._held: dict[str, np.ndarray] = {}

    def hold(self, names: Iterable[str]) -> None:
        """Begin to average these tensors, too, with their present values; those that it has go on."""
        self._held |= self.model.read([name for name in names if name not in self._held])

    def update(self) -> None:
        """Move the average towards the tensors as they are now."""
        for name, now in self.model.read(self._held).items():
            average = self._held[name]
            if np.issubdtype(now.dtype, np.floating):
                average += (now - average) * now.dtype.type(1 - self.decay)
            else:
                average[...] = now

    def read(self) -> dict[str, np.ndarray]:
        """Copies of the average by canonical name, in torch's layouts."""
        return {name: array.copy() for name, array in self._held.items()}

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the average to what `read` returned, here or on another backend; nothing else is held then."""
        self._held = {name: np.array(array) for name, array in arrays.items()}
