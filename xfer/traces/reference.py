"""What a layer computes, in NumPy and float64, from its configuration, inputs and weights; and how far rounding goes.

Images are (N, C, H, W), kernels (O, I, H, W), dense weights (O, I): PyTorch's layouts. With each value comes a scale:
in arithmetic with unit roundoff u the result lies within u * scale. For n terms that is 8 sqrt(n) times the sum of
their absolute values: rounding errors add up as a random walk (Higham and Mary 2019, "A new approach to probabilistic
rounding error analysis", theorem 2.4, whose lambda is 8 here: one element in 10^13 lies outside).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xfer.traces.activations import ACTIVATIONS, softmax_axis

Array = np.ndarray
Config = Mapping[str, Any]
Result = tuple[Array, Array]

KINDS = (
    "conv", "dense", "batch_norm", "layer_norm", "group_norm", "activation", "pool", "global_pool", "flatten", "add",
    "concatenate", "multiply", "dropout", "identity", "pad",
)  # fmt: skip
LAMBDA = 8.0
_LARGEST = 1 << 28  # numbers of an image after padding


class UnknownLayerError(Exception):
    """The reference does not know what a layer computes."""


def compute(kind: str, config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    """The output of a layer, and the scale of its rounding.

    Args:
        kind: one of `KINDS`.
        config: what the recorders say of it.
        inputs: arrays of any float type.
        weights: by role: weight, bias; of batch norm mean and variance too, those that it normalises with.

    Raises:
        UnknownLayerError: another kind, another configuration, or shapes that do not fit.
    """
    rule = _RULES.get(kind)
    if rule is None or not inputs:
        raise UnknownLayerError(kind)
    wide = [np.asarray(x, np.float64) for x in inputs]
    try:
        found: Result = rule(config, wide, {role: np.asarray(w, np.float64) for role, w in weights.items()})
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UnknownLayerError(f"{kind}: {error}") from None
    return found


def _conv(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    kernel, groups = weights["weight"], config["groups"]
    if config.get("padding_mode", "zeros") != "zeros":
        raise UnknownLayerError("padding mode")
    patches = _windows(inputs[0], config, 0.0)  # (N, C, OH, OW, KH, KW)
    n, channels, *rest = patches.shape
    dims = len(rest) // 2
    out = tuple(rest[:dims])
    # (G, N * OH * OW, C / G * KH * KW) times (G, C / G * KH * KW, O / G)
    grouped = patches.reshape(n, groups, channels // groups, *rest)
    order = (1, 0, *range(3, 3 + dims), 2, *range(3 + dims, 3 + 2 * dims))
    columns = grouped.transpose(order).reshape(groups, n * math.prod(out), -1)
    matrix = kernel.reshape(groups, kernel.shape[0] // groups, -1).transpose(0, 2, 1)

    def product(a: Array, b: Array) -> Array:
        found = (a @ b).reshape(groups, n, *out, -1)
        return np.asarray(np.moveaxis(np.moveaxis(found, -1, 1), 2, 0).reshape(n, -1, *out))

    value, size = product(columns, matrix), product(np.abs(columns), np.abs(matrix))
    bias = _channel(weights["bias"], value) if "bias" in weights else 0.0
    return value + bias, LAMBDA * math.sqrt(columns.shape[-1] + 1) * (size + np.abs(bias))


def _dense(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    axis = 1 if inputs[0].ndim == 4 else -1
    x, kernel = np.moveaxis(inputs[0], axis, -1), weights["weight"]
    bias = weights.get("bias", np.zeros(1))
    value, size = x @ kernel.T + bias, np.abs(x) @ np.abs(kernel.T) + np.abs(bias)
    return np.moveaxis(value, -1, axis), np.moveaxis(LAMBDA * math.sqrt(x.shape[-1] + 1) * size, -1, axis)


def _batch_norm(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    x = inputs[0]
    mean, variance = _channel(weights["mean"], x), _channel(weights["variance"], x)
    return _normalised(x, mean, variance, config["eps"], weights, lambda w: _channel(w, x))


def _layer_norm(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    x, axes = inputs[0], config["axes"]
    over = (1,) if x.ndim == 4 and axes == 1 else tuple(range(x.ndim - axes, x.ndim))
    mean, variance = x.mean(over, keepdims=True), x.var(over, keepdims=True)
    place = (lambda w: _channel(w, x)) if over == (1,) else (lambda w: w)
    return _normalised(x, mean, variance, config["eps"], weights, place)


def _group_norm(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    x, groups = inputs[0], config["groups"]
    split = x.reshape(x.shape[0], groups, -1)
    shape = (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])

    def spread(numbers: Array) -> Array:
        wide = numbers.reshape(x.shape[0], groups, *(1,) * (len(shape) - 2))
        return np.broadcast_to(wide, shape).reshape(x.shape)

    mean, variance = spread(split.mean(2)), spread(split.var(2))
    return _normalised(x, mean, variance, config["eps"], weights, lambda w: _channel(w, x))


def _normalised(x: Array, mean: Array, variance: Array, eps: float, weights: Mapping[str, Array], place: Any) -> Result:
    deviation = np.sqrt(variance + eps)
    gain = place(weights["weight"]) if "weight" in weights else 1.0
    shift = place(weights["bias"]) if "bias" in weights else 0.0
    value = (x - mean) / deviation * gain
    # Of n values the mean is rounded by up to u * (deviation + sqrt(n) * mean), and the variance by up to
    # u * sqrt(n) * (variance + mean^2), where it is a difference of mean squares.
    root = math.sqrt(float(weights.get("count", np.ones(1)).max()))
    lost = (1 + mean**2 / (variance + eps)) * root
    moved = 1 + root * np.abs(mean) / deviation
    scale = 2 * LAMBDA * ((np.abs(x) + np.abs(mean)) / deviation * np.abs(gain) + np.abs(shift) + np.abs(value) * lost)
    scale = scale + 2 * LAMBDA * moved * np.abs(gain)
    return value + shift, scale


def _activation(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    function = ACTIVATIONS.get(config["name"])
    if function is None:
        raise UnknownLayerError(config["name"])
    x = inputs[0]
    value = function(x, config.get("slope"))
    if config["name"] in ("softmax", "log_softmax"):
        value, size = np.asarray(value), np.abs(x).max(softmax_axis(x), keepdims=True) + math.sqrt(x.shape[-1])
        return value, LAMBDA * (np.abs(value) * (1 + size) if config["name"] == "softmax" else np.abs(value) + size)
    return value, LAMBDA * (1.2 * np.abs(x) + np.abs(value))


def _pool(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    x, largest = inputs[0], config["pooling"] == "max"
    given = config.get("pad_value")
    patches = _windows(x, config, (-np.inf if given is None else given) if largest else 0.0)
    axes = tuple(range(patches.ndim - 2, patches.ndim))
    if largest:
        value = patches.max(axes)
        return value, np.abs(value)
    counted = np.ones_like(x) if not config["counted"] else None
    number = float(math.prod(config["kernel"])) if counted is None else _windows(counted, config, 0.0).sum(axes)
    size = np.abs(patches).sum(axes) / number
    return patches.sum(axes) / number, LAMBDA * math.sqrt(math.prod(config["kernel"])) * size


def _global_pool(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    x = inputs[0].reshape(*inputs[0].shape[:2], -1)
    if config["pooling"] == "max":
        return x.max(2), np.abs(x.max(2))
    return x.mean(2), LAMBDA * math.sqrt(x.shape[2]) * np.abs(x).mean(2)


def _flatten(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    x = inputs[0] if config["order"] == "first" or inputs[0].ndim < 3 else np.moveaxis(inputs[0], 1, -1)
    value = x.reshape(x.shape[0], -1)
    return value, np.abs(value)


def _add(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    value = sum(inputs[1:], start=inputs[0])
    return np.asarray(value), LAMBDA * np.asarray(sum(np.abs(x) for x in inputs))


def _multiply(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    if len(inputs) < 2:
        raise UnknownLayerError("multiply")
    value = math.prod(inputs[1:], start=inputs[0])
    return np.asarray(value), LAMBDA * np.abs(value)


def _concatenate(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    value = np.concatenate(list(inputs), 1 if inputs[0].ndim == 4 else -1)
    return value, np.abs(value)


def _identity(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    if config.get("active"):
        raise UnknownLayerError("dropout draws")
    return inputs[0], np.abs(inputs[0])


def _pad(config: Config, inputs: Sequence[Array], weights: Mapping[str, Array]) -> Result:
    value = np.pad(inputs[0], [(0, 0), (0, 0), *map(tuple, config["padding"])], constant_values=config["value"])
    return value, np.abs(value)


def _windows(x: Array, config: Config, value: float) -> Array:
    """(N, C, OH, OW, KH, KW): what each output of a convolution or pooling sees."""
    kernel, stride = config["kernel"], config["stride"]
    dilation = config.get("dilation") or [1] * len(kernel)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = [list(p) for p in config["padding"]]
    if config.get("ceil"):
        for axis, (low, high) in enumerate(pads):
            over = (x.shape[2 + axis] + low + high - reach[axis]) % stride[axis]
            pads[axis][1] += stride[axis] - over if over else 0
    if math.prod(n + low + high for n, (low, high) in zip(x.shape[2:], pads, strict=True)) * x.shape[1] > _LARGEST:
        raise UnknownLayerError("too large")
    wide = np.pad(x, [(0, 0), (0, 0), *((low, high) for low, high in pads)], constant_values=value)
    axes = tuple(range(2, x.ndim))
    found = sliding_window_view(wide, tuple(reach), axis=axes)  # type: ignore[call-overload]
    every = (slice(None), slice(None), *(slice(None, None, s) for s in stride))
    return np.asarray(found[every + tuple(slice(None, None, d) for d in dilation)])


def _channel(numbers: Array, x: Array) -> Array:
    """One number a channel, for (N, C, ...) or (N, T, C)."""
    return numbers if x.ndim in (2, 3) else numbers.reshape(-1, *(1,) * (x.ndim - 2))


_RULES = {
    "conv": _conv, "dense": _dense, "batch_norm": _batch_norm, "layer_norm": _layer_norm, "group_norm": _group_norm,
    "activation": _activation, "pool": _pool, "global_pool": _global_pool, "flatten": _flatten, "add": _add,
    "concatenate": _concatenate, "multiply": _multiply, "dropout": _identity, "identity": _identity, "pad": _pad,
}  # fmt: skip
