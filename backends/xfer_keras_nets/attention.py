"""Attention with torch's parameters under torch's names and in torch's layouts."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from xfer.zoo.swin import coordinates

_register = keras.saving.register_keras_serializable("xfer")


@_register
class ClassToken(layers.Layer):
    """A learned token in front of the others: `class_token` (1, 1, D)."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.token = self.add_weight(name="class_token", shape=(1, 1, input_shape[-1]))

    def call(self, inputs: Any) -> Any:
        """(N, L, D) to (N, 1 + L, D)."""
        batch, _, width = ops.shape(inputs)
        return ops.concatenate([ops.broadcast_to(self.token, (batch, 1, width)), inputs], axis=1)


@_register
class Tokens(layers.Layer):
    """Learned tokens in front of the others, or alone: (1, count, D).

    Args:
        count: how many.
        variable: name of the weight; that of the layer by default.
        alone: without the others.
    """

    def __init__(self, count: int = 1, variable: str | None = None, alone: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.count, self.variable, self.alone = count, variable, alone

    def get_config(self) -> dict[str, Any]:
        """What `keras.Model.save` writes."""
        return {**super().get_config(), "count": self.count, "variable": self.variable, "alone": self.alone}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.token = self.add_weight(name=self.variable or self.name, shape=(1, self.count, input_shape[-1]))

    def call(self, inputs: Any) -> Any:
        """(N, L, D) to (N, count + L, D), or (N, count, D)."""
        batch, _, width = ops.shape(inputs)
        found = ops.broadcast_to(self.token, (batch, self.count, width))
        return found if self.alone else ops.concatenate([found, inputs], axis=1)


@_register
class PositionEmbedding(layers.Layer):
    """A learned vector for each place, added: (1, L, D).

    Args:
        variable: name of the weight.
    """

    def __init__(self, variable: str = "pos_embedding", **options: Any) -> None:
        super().__init__(**options)
        self.variable = variable

    def get_config(self) -> dict[str, Any]:
        """What `keras.Model.save` writes."""
        return {**super().get_config(), "variable": self.variable}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.embedding = self.add_weight(name=self.variable, shape=(1, *input_shape[1:]))

    def call(self, inputs: Any) -> Any:
        """(N, L, D) to (N, L, D)."""
        return inputs + self.embedding


@_register
class InProjection(layers.Layer):
    """Queries, keys and values of torch.nn.MultiheadAttention: `in_proj_weight` (3 D, D), `in_proj_bias` (3 D,)."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        width = input_shape[-1]
        assert width is not None
        self.kernel = self.add_weight(name="in_proj_weight", shape=(3 * width, width))
        self.offset = self.add_weight(name="in_proj_bias", shape=(3 * width,))

    def call(self, inputs: Any) -> Any:
        """(..., D) to (..., 3 D)."""
        return ops.matmul(inputs, ops.transpose(self.kernel)) + self.offset


@_register
class KeylessBias(layers.Dense):
    """Queries, keys and values of Swin v2, whose keys have no bias: that third of `bias` is there and not used."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        """(..., D) to (..., 3 D)."""
        used = np.repeat([1.0, 0.0, 1.0], self.units // 3)
        return ops.matmul(inputs, self.kernel) + self.bias * ops.cast(used, self.bias.dtype)


@_register
class Attention(layers.Layer):
    """Softmax attention of each group of tokens to itself (Vaswani et al. 2017, arXiv:1706.03762).

    Args:
        heads: number of heads, each D / heads wide.
        scale: of the products of queries and keys; 1 / sqrt(D / heads) by default.
    """

    def __init__(self, heads: int, scale: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.heads, self.scale = heads, scale

    def get_config(self) -> dict[str, Any]:
        """What `keras.Model.save` writes."""
        return {**super().get_config(), "heads": self.heads, "scale": self.scale}

    def call(self, inputs: Any) -> Any:
        """Queries, keys and values (..., L, 3 D) to (..., L, D)."""
        groups, width = inputs.shape[1:-1], inputs.shape[-1] // 3
        # Slices of as few dimensions as can be: LiteRT's kernels take five.
        parts = (inputs[..., i * width : (i + 1) * width] for i in range(3))
        query, key, value = (
            ops.swapaxes(ops.reshape(part, (-1, *groups, self.heads, width // self.heads)), -3, -2) for part in parts
        )
        weights = ops.softmax(self.logits(query, key))
        return ops.reshape(ops.swapaxes(ops.matmul(weights, value), -3, -2), (-1, *groups, width))

    def logits(self, query: Any, key: Any) -> Any:
        """(..., heads, L, d) twice to (..., heads, L, L)."""
        scale = self.scale or query.shape[-1] ** -0.5
        return _products(query * scale, key)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        assert input_shape[-1] is not None
        return (*input_shape[:-1], input_shape[-1] // 3)


@_register
class QueryAttention(layers.Layer):
    """Softmax attention of queries to other tokens.

    Args:
        heads: number of heads, each D / heads wide.
    """

    def __init__(self, heads: int, **options: Any) -> None:
        super().__init__(**options)
        self.heads = heads

    def get_config(self) -> dict[str, Any]:
        """What `keras.Model.save` writes."""
        return {**super().get_config(), "heads": self.heads}

    def call(self, inputs: Any) -> Any:
        """Queries (N, Q, D), and keys and values (N, L, 2 D), to (N, Q, D)."""
        queries, both = inputs
        width = queries.shape[-1]
        query = ops.swapaxes(ops.reshape(queries, (-1, queries.shape[1], self.heads, width // self.heads)), 1, 2)
        parts = ops.reshape(both, (-1, both.shape[1], 2, self.heads, width // self.heads))
        key, value = (ops.swapaxes(parts[:, :, i], 1, 2) for i in range(2))
        weights = ops.softmax(_products(query * query.shape[-1] ** -0.5, key))
        return ops.reshape(ops.swapaxes(ops.matmul(weights, value), 1, 2), (-1, queries.shape[1], width))

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return input_shape[0]


@_register
class MultiQueryAttention(layers.Layer):
    """Softmax attention of all places of a map, with one head of keys and values (Shazeer 2019, arXiv:1911.02150)."""

    def call(self, inputs: Any) -> Any:
        """Queries (N, H, W, heads * d), keys and values (N, h, w, d) to (N, H, W, heads * d)."""
        query, key, value = inputs
        height, width, channels = query.shape[1:]
        depth = key.shape[-1]
        # Rows of a matrix of queries are all heads of all places.
        query = ops.reshape(query, (-1, height * width * channels // depth, depth))
        key, value = (ops.reshape(part, (-1, part.shape[1] * part.shape[2], depth)) for part in (key, value))
        weights = ops.softmax(_products(query * depth**-0.5, key))
        return ops.reshape(ops.matmul(weights, value), (-1, height, width, channels))

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return input_shape[0]


@_register
class WindowAttention(Attention):
    """Attention inside windows, with a learned bias for each offset of two places (Liu et al. 2021, arXiv:2103.14030).

    `relative_position_bias_table` ((2 window - 1)^2, heads).

    Args:
        window: side of a window in places.
        size: height and width of the map in places, if the windows are shifted over its border.
        shift: how far in each direction; what a shift brings together from opposite borders doesn't meet.
    """

    def __init__(
        self,
        heads: int,
        window: int,
        size: tuple[int, int] = (0, 0),
        shift: tuple[int, int] = (0, 0),
        scale: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(heads, scale, **options)
        self.window, self.size, self.shift = window, tuple(size), tuple(shift)

    def get_config(self) -> dict[str, Any]:
        """What `keras.Model.save` writes."""
        return {**super().get_config(), "window": self.window, "size": self.size, "shift": self.shift}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        places = (2 * self.window - 1) ** 2
        self.table = self.add_weight(name="relative_position_bias_table", shape=(places, self.heads))

    def logits(self, query: Any, key: Any) -> Any:
        """(N, G, heads, L, d) twice to (N, G, heads, L, L)."""
        return self.biased(super().logits(query, key), self.table)

    def biased(self, logits: Any, table: Any) -> Any:
        """Add the bias of each pair of places, and keep apart what the shift has brought together."""
        count = self.window**2
        bias = ops.reshape(ops.take(table, offsets(self.window), axis=0), (count, count, self.heads))
        logits = logits + ops.transpose(bias, (2, 0, 1))
        if any(self.shift):
            apart = shift_mask(self.size, self.window, self.shift)
            logits = logits + ops.convert_to_tensor(apart[:, None], dtype=logits.dtype)
        return logits


@_register
class CosineWindowAttention(WindowAttention):
    """Window attention of Swin v2: cosines, and a bias that a small net gives (Liu et al. 2021, arXiv:2111.09883)."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.logit_scale = self.add_weight(name="logit_scale", shape=(self.heads, 1, 1))
        self.hidden = self.add_weight(name="cpb_mlp.0.weight", shape=(512, 2))
        self.hidden_bias = self.add_weight(name="cpb_mlp.0.bias", shape=(512,))
        self.out = self.add_weight(name="cpb_mlp.2.weight", shape=(self.heads, 512))

    def logits(self, query: Any, key: Any) -> Any:
        """(N, G, heads, L, d) twice to (N, G, heads, L, L)."""
        cosines = _products(_unit(query), _unit(key))
        scale = ops.exp(ops.minimum(self.logit_scale, math.log(100.0)))
        places = ops.convert_to_tensor(coordinates(self.window), dtype=query.dtype)
        hidden = ops.relu(ops.matmul(places, ops.transpose(self.hidden)) + self.hidden_bias)
        return self.biased(cosines * scale, 16 * ops.sigmoid(ops.matmul(hidden, ops.transpose(self.out))))


@_register
class Partition(layers.Layer):
    """A map cut into windows (N, G, window^2, C), after a cyclic shift; as a grid, groups and places are exchanged."""

    def __init__(self, window: int, shift: tuple[int, int] = (0, 0), grid: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.window, self.shift, self.grid = window, tuple(shift), grid

    def get_config(self) -> dict[str, Any]:
        """What `keras.Model.save` writes."""
        return {**super().get_config(), "window": self.window, "shift": self.shift, "grid": self.grid}

    def call(self, inputs: Any) -> Any:
        """(N, H, W, C) to (N, G, L, C); H and W are multiples of the window."""
        _, height, width, channels = inputs.shape
        side = self.window
        x = _rolled(inputs, (-self.shift[0], -self.shift[1]))
        x = ops.reshape(x, (-1, height // side, side, width // side, side, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = ops.reshape(x, (-1, height * width // side**2, side**2, channels))
        return ops.swapaxes(x, 1, 2) if self.grid else x


@_register
class Departition(Partition):
    """`Partition` undone, for a map of a `size` in places."""

    def __init__(self, size: tuple[int, int], window: int, **options: Any) -> None:
        super().__init__(window, **options)
        self.size = tuple(size)

    def get_config(self) -> dict[str, Any]:
        """What `keras.Model.save` writes."""
        return {**super().get_config(), "size": self.size}

    def call(self, inputs: Any) -> Any:
        """(N, G, L, C) to (N, H, W, C)."""
        (height, width), side, channels = self.size, self.window, inputs.shape[-1]
        x = ops.swapaxes(inputs, 1, 2) if self.grid else inputs
        x = ops.reshape(x, (-1, height // side, width // side, side, side, channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height, width, channels))
        return _rolled(x, self.shift)


def offsets(window: int) -> np.ndarray:
    """For each ordered pair of places in a window, the row of the bias table: (window^4,)."""
    places = np.stack(np.meshgrid(np.arange(window), np.arange(window), indexing="ij")).reshape(2, -1)
    rows, columns = places[:, :, None] - places[:, None, :] + window - 1
    return np.asarray(rows * (2 * window - 1) + columns).reshape(-1)


def shift_mask(size: tuple[int, int], window: int, shift: tuple[int, int]) -> np.ndarray:
    """-100 between places of a shifted window that were not neighbours, else 0: (G, window^2, window^2)."""
    regions = np.zeros(size, int)
    rows, columns = ((0, -window, -step, None) if step else (0, None) for step in shift)
    count = 0
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            regions[top:bottom, left:right] = count
            count += 1
    height, width = size
    regions = regions.reshape(height // window, window, width // window, window).transpose(0, 2, 1, 3)
    regions = regions.reshape(-1, window**2)
    return np.where(regions[:, None, :] != regions[:, :, None], -100.0, 0.0)


def _products(query: Any, key: Any) -> Any:
    """(..., L, d) twice to (..., L, L); written as a matrix product, which every converter knows."""
    return ops.matmul(query, ops.swapaxes(key, -2, -1))


def _rolled(x: Any, shift: tuple[int, int]) -> Any:
    """(N, H, W, C) shifted cyclically; of slices, because LiteRT's runtime has no roll."""
    for axis, step in enumerate(shift, 1):
        if step:
            before, after = (x[:, -step:], x[:, :-step]) if axis == 1 else (x[:, :, -step:], x[:, :, :-step])
            x = ops.concatenate([before, after], axis=axis)
    return x


def _unit(x: Any) -> Any:
    return x / ops.maximum(ops.norm(x, axis=-1, keepdims=True), 1e-12)
