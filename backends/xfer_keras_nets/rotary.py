"""Attention with rotary position embeddings."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from xfer.zoo.eva02 import rotary
from xfer_keras_nets.attention import Attention


@keras.saving.register_keras_serializable("xfer")
class RotaryAttention(Attention):
    """Attention with queries and keys turned by their places (Su et al. 2021, arXiv:2104.09864).

    Args:
        heads: number of heads, each D / heads wide.
        side: patches a side.
        prefix: tokens before the patches, which have no place.
        biases: whether it adds biases of queries and values, `q_bias` and `v_bias` (D,); keys have none.
    """

    def __init__(self, heads: int, side: int, prefix: int = 1, biases: bool = False, **options: Any) -> None:
        super().__init__(heads, **options)
        self.side, self.prefix, self.biases = side, prefix, biases

    def get_config(self) -> dict[str, Any]:
        """What `keras.Model.save` writes."""
        return {**super().get_config(), "side": self.side, "prefix": self.prefix, "biases": self.biases}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        width = input_shape[-1]
        assert width is not None
        if self.biases:
            self.query_bias = self.add_weight(name="q_bias", shape=(width // 3,))
            self.value_bias = self.add_weight(name="v_bias", shape=(width // 3,))

    def call(self, inputs: Any) -> Any:
        """Queries, keys and values (N, L, 3 D) to (N, L, D)."""
        if self.biases:
            query, value = (ops.convert_to_tensor(bias) for bias in (self.query_bias, self.value_bias))
            inputs = inputs + ops.concatenate([query, ops.zeros_like(query), value])  # JAX takes no variable here
        return super().call(inputs)

    def logits(self, query: Any, key: Any) -> Any:
        """(N, heads, L, d) twice to (N, heads, L, L)."""
        return super().logits(self.turned(query), self.turned(key))

    def turned(self, x: Any) -> Any:
        """(N, heads, prefix + patches, d) to the same."""
        width = x.shape[-1]
        sines, cosines = (ops.convert_to_tensor(table, dtype=x.dtype) for table in rotary(self.side, width))
        prefix, patches = x[:, :, : self.prefix], x[:, :, self.prefix :]
        across = ops.matmul(patches, ops.convert_to_tensor(_quarter_turn(width), dtype=x.dtype))
        return ops.concatenate([prefix, patches * cosines + across * sines], axis=2)


def _quarter_turn(width: int) -> np.ndarray:
    """The matrix that makes (-b, a) of each pair (a, b) of channels: a product, which every converter knows."""
    return np.kron(np.eye(width // 2), np.array([[0.0, 1.0], [-1.0, 0.0]]))
