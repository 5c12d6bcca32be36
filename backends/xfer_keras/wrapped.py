"""A user's Keras model on TensorFlow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from xfer.errors import UsageError
from xfer_keras.model import KerasModel
from xfer_keras_nets.network import joined
from xfer_keras_nets.wrapped import WrappedNetwork


class WrappedModel(WrappedNetwork, KerasModel):
    """A functional Keras model whose passes `tf.function` compiles."""

    def _gradient(self, after: str | None, block: str, at_logits: Any, values: Any, columns: Any = None) -> list[Any]:
        pixels = self.normalise(values)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pixels)
            for variable in self._body.variables:  # a block need not depend on the pixels in a way that has a gradient
                if "float" in variable.dtype:
                    tape.watch(variable.value)
            found = self._model((block, "features"))(pixels, training=False)
            logits = self.stages["head"](joined(found["features"], columns), training=False)
        gradient = tape.gradient(logits, found[block], tf.cast(at_logits, logits.dtype))
        if gradient is None:
            raise UsageError(f"the logits of {self.name} have no gradient at block {block!r}: name another block")
        return [tf.cast(found[block], self.dtype), tf.cast(gradient, self.dtype)]
