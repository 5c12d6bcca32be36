"""Initial weights, drawn in NumPy by canonical name, equal on every backend."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np


def _rng(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def uniform(name: str, shape: tuple[int, ...], *, fan_in: int, seed: int) -> np.ndarray:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), float32: the default of torch.nn.Linear."""
    bound = fan_in**-0.5
    return np.asarray(_rng(name, seed).uniform(-bound, bound, shape), np.float32)


def glorot_uniform(name: str, shape: tuple[int, ...], *, seed: int) -> np.ndarray:
    """U(-a, a), a = sqrt(6 / (in + out)), float32 (out, in): keras.layers.Dense's default (Glorot & Bengio 2010)."""
    bound = (6 / sum(shape)) ** 0.5
    return np.asarray(_rng(name, seed).uniform(-bound, bound, shape), np.float32)


def initial_weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights to train a network from scratch, as torchvision initialises its ResNets and VGGs.

    Convolutions are He-normal by fan-out (He et al. 2015, arXiv:1502.01852; for a depthwise kernel the fan-out of one
    group), linear layers normal with standard deviation 0.01, normalisation 1 and 0, biases 0; what transformers have
    beside these as torchvision or timm initialises it.

    Args:
        shapes: canonical names with torch's layouts: (out, in / groups, kh, kw) and (out, in).
        seed: each tensor depends on it and on its own name alone.
    """
    return {name: _tensor(name, shape, seed) for name, shape in shapes.items()}


_CONSTANTS = {
    **dict.fromkeys(("class_token", "cls_token", "reg_token"), 0.0),
    **{"layer_scale": 1e-6, "gamma": 1e-5},  # torchvision's ConvNeXt, timm's vision transformers
    "logit_scale": np.log(10.0),
}
_POSITIONS = ("pos_embedding", "pos_embed", "relative_position_bias_table")


def _tensor(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    role = name.rpartition(".")[2]
    if role in _CONSTANTS:
        return np.full(shape, _CONSTANTS[role], np.float32)
    if role in _POSITIONS:
        return np.asarray(_rng(name, seed).standard_normal(shape) * 0.02, np.float32)
    if role == "latent":  # the query of attention pooling
        return np.asarray(_rng(name, seed).standard_normal(shape) * shape[-1] ** -0.5, np.float32)
    if len(shape) == 4:
        out, per_group, height, width = shape
        fan_out = height * width * (out if per_group > 1 else 1)
        return np.asarray(_rng(name, seed).standard_normal(shape) * (2.0 / fan_out) ** 0.5, np.float32)
    if len(shape) == 2:
        return np.asarray(_rng(name, seed).standard_normal(shape) * 0.01, np.float32)
    if name.endswith(".grn.weight"):  # global response normalisation begins as the identity
        return np.zeros(shape, np.float32)
    return np.full(shape, name.endswith((".weight", ".running_var")), np.float32)
