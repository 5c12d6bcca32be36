"""MovingAverage on JAX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from xfer.models.moving_average import MovingAverage
from xfer_jax.model import JaxModel


class JaxAverage(MovingAverage):
    """The average in arrays on the device, moved by one compiled function, which donates them."""

    model: JaxModel

    def __init__(self, model: JaxModel, decay: float) -> None:
        super().__init__(model, decay)
        self._averages: dict[str, Any] = {}
        self._compiled = model.jit(self._moved, donated=(0,))

    def hold(self, names: Iterable[str]) -> None:
        tensors = self.model.tensors()
        with self.model.placed():  # copies: a step donates the buffers of what it changes
            self._averages |= {n: jnp.array(tensors[n].variable.value) for n in names if n not in self._averages}

    def update(self) -> None:
        tensors = self.model.tensors()
        with self.model.exclusively(), self.model.placed():
            now = {name: tensors[name].variable.value for name in self._averages}
            self._averages = self._compiled(self._averages, now)

    def read(self) -> dict[str, np.ndarray]:
        tensors = self.model.tensors()
        return {name: tensors[name].from_keras(np.asarray(average)) for name, average in self._averages.items()}

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        tensors = self.model.tensors()
        with self.model.placed():
            self._averages = {name: jnp.array(tensors[name].to_keras(array)) for name, array in arrays.items()}

    def _moved(self, averages: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
        return {
            name: average + (now[name] - average) * (1 - self.decay)
            if jnp.issubdtype(average.dtype, jnp.floating)
            else now[name]
            for name, average in averages.items()
        }
