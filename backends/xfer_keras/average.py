"""MovingAverage on Keras."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from xfer.models.moving_average import MovingAverage
from xfer_keras.model import KerasModel


class KerasAverage(MovingAverage):
    """The average in variables on the device, moved by one compiled function."""

    model: KerasModel

    def __init__(self, model: KerasModel, decay: float) -> None:
        super().__init__(model, decay)
        self._averages: dict[str, tf.Variable] = {}
        self._compiled: Any = None

    def hold(self, names: Iterable[str]) -> None:
        tensors = self.model.tensors()
        new = {name: tensors[name].variable.value for name in names if name not in self._averages}
        self._add({name: tf.identity(variable) for name, variable in new.items()})

    def update(self) -> None:
        tensors = self.model.tensors()
        if self._compiled is None:
            pairs = [(average, tensors[name].variable.value) for name, average in self._averages.items()]
            # A partial: TensorFlow takes new traces of one Python function for a mistake, and warns.
            self._compiled = tf.function(partial(self._move, pairs), autograph=False)
        with self.model.exclusively(), tf.device(self.model.device):
            self._compiled()

    def read(self) -> dict[str, np.ndarray]:
        tensors = self.model.tensors()
        return {name: tensors[name].from_keras(average.numpy()) for name, average in self._averages.items()}

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        tensors, self._averages = self.model.tensors(), {}
        self._add({name: tensors[name].to_keras(array) for name, array in arrays.items()})

    def _add(self, values: Mapping[str, Any]) -> None:
        with tf.device(self.model.device):
            self._averages |= {name: tf.Variable(value, trainable=False) for name, value in values.items()}
        self._compiled = None

    def _move(self, pairs: list[tuple[tf.Variable, Any]]) -> None:
        for average, now in pairs:
            if now.dtype.is_floating:
                average.assign_add((now - average) * tf.constant(1 - self.decay, now.dtype))
            else:
                average.assign(now)
