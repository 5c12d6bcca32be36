"""Habits of PyTorch and Keras in a network: the constants of batch normalisation. `padded_as` decides the padding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xfer.specs.numerics import Numerics
from xfer_keras_nets.layers import BatchNorm


def apply(layers: Iterable[Any], numerics: Numerics) -> None:
    """Give the layers of a network these habits."""
    for layer in layers:
        if isinstance(layer, BatchNorm):
            layer.epsilon = layer.epsilon if numerics.norm_eps is None else numerics.norm_eps
            if numerics.norm_momentum is not None:
                layer.update, layer.momentum = numerics.norm_momentum, 1.0 - numerics.norm_momentum
            layer.biased = numerics.norm_variance == "biased"
