"""Activations in NumPy, by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray


def softmax_axis(x: Array) -> int:
    """The axis of classes."""
    return 1 if x.ndim == 4 else -1


def log_softmax(x: Array, axis: int = -1) -> Array:
    """Logarithms of the softmax of logits."""
    shifted = x - x.max(axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis, keepdims=True)))


def _gelu(x: Array) -> Array:
    from scipy.special import erf

    return np.asarray(0.5 * x * (1 + erf(x / math.sqrt(2))))


def _sigmoid(x: Array) -> Array:
    from scipy.special import expit

    return np.asarray(expit(x))


def _softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(0, x))


def _elu(x: Array, slope: float) -> Array:
    return np.where(x > 0, x, slope * np.expm1(np.minimum(x, 0)))


# Each takes an array and the slope of those that have one.
ACTIVATIONS: dict[str, Callable[[Array, float | None], Array]] = {
    "linear": lambda x, _: x,
    "relu": lambda x, _: np.maximum(x, 0),
    "relu6": lambda x, _: np.clip(x, 0, 6),
    "gelu": lambda x, _: _gelu(x),
    "gelu_tanh": lambda x, _: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gelu_sigmoid": lambda x, _: x * _sigmoid(1.702 * x),
    "silu": lambda x, _: x * _sigmoid(x),
    "sigmoid": lambda x, _: _sigmoid(x),
    "tanh": lambda x, _: np.tanh(x),
    "mish": lambda x, _: x * np.tanh(_softplus(x)),
    "softplus": lambda x, _: _softplus(x),
    "hard_sigmoid": lambda x, _: np.clip(x / 6 + 0.5, 0, 1),
    "hard_swish": lambda x, _: x * np.clip(x / 6 + 0.5, 0, 1),
    "selu": lambda x, _: 1.0507009873554805 * _elu(x, 1.6732632423543772),
    "elu": lambda x, slope: _elu(x, 1.0 if slope is None else slope),
    "leaky_relu": lambda x, slope: np.where(x > 0, x, (0.01 if slope is None else slope) * x),
    "softmax": lambda x, _: np.exp(log_softmax(x, softmax_axis(x))),
    "log_softmax": lambda x, _: log_softmax(x, softmax_axis(x)),
}
