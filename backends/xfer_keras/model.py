"""BaseModel on Keras and TensorFlow."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from xfer.models.engine import Engine
from xfer.models.spec import ModelSpec
from xfer.runtime.progress import step
from xfer.specs.inputs import Inputs
from xfer_keras_nets.network import KerasNetwork, joined

TRACING = "tracing the network"


class KerasModel(KerasNetwork):
    """A Keras model whose passes `tf.function` compiles."""

    def __init__(self, backend: Engine, spec: ModelSpec) -> None:
        self.device = spec.device.replace("cuda", "GPU").replace("cpu", "CPU:0")
        self._choosing_precision = False
        super().__init__(backend, spec)

    def resolve_precision(self, images: np.ndarray) -> None:
        self._choosing_precision = True
        try:
            super().resolve_precision(images)
        finally:
            self._choosing_precision = False

    def placed(self) -> AbstractContextManager[object]:
        found: AbstractContextManager[object] = tf.device(self.device)
        return found

    def call(self, function: Any, key: Any, inputs: Inputs, *first: np.ndarray) -> list[np.ndarray]:
        if self._choosing_precision and self.spec.precision == "fp32":  # tracing what bfloat16 replaces costs more
            with self.placed():
                return [array.numpy() for array in function(*self.values(inputs.padded()))]
        # What is differentiated runs without XLA.
        fast = not first and self.compiled.get("inference", False)
        new = (key, fast) not in self._compiled
        if new:
            before = [tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in first]
            # A partial: TensorFlow takes new traces of one Python function for a mistake, and warns.
            self._compiled[key, fast] = tf.function(
                partial(function),
                input_signature=[*before, *self.signature(inputs)],
                autograph=False,
                jit_compile=fast or None,
            )
        with self.placed(), step(TRACING, when=new):
            given = [*map(tf.convert_to_tensor, first), *self.values(inputs.padded())]
            return [array.numpy() for array in self._compiled[key, fast](*given)]

    def values(self, inputs: Inputs) -> list[Any]:
        """`arrays` as tensors: what TensorFlow is told to run eagerly is given its arguments as they are."""
        return [tf.convert_to_tensor(array) for array in self.arrays(inputs)]

    def signature(self, inputs: Inputs) -> list[tf.TensorSpec]:
        """Shapes and types of `arrays`, N free."""
        return [tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in self.arrays(inputs)]

    def _gradient(self, after: str | None, block: str, at_logits: Any, values: Any, columns: Any = None) -> list[Any]:
        x = at = self.enter(Inputs(values, after))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for name, stage in self.steps(after).items():
                x = stage(joined(x, columns) if name == "head" else x, training=False)
                if name == block:
                    at = x
                    tape.watch(at)
        gradient = tape.gradient(x, at, tf.cast(at_logits, x.dtype))
        return [tf.cast(at, self.dtype), tf.cast(gradient, self.dtype)]
