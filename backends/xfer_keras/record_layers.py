"""What layers and operations of Keras compute, in the terms of `xfer.traces.reference`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import activations, layers


@dataclass(frozen=True)
class Described:
    """A kind, its configuration, and variables by role."""

    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)


_FUNCTIONS: dict[Any, dict[str, Any]] = {
    activations.relu: {"name": "relu"}, activations.relu6: {"name": "relu6"}, activations.gelu: {"name": "gelu"},
    activations.silu: {"name": "silu"}, activations.sigmoid: {"name": "sigmoid"}, activations.tanh: {"name": "tanh"},
    activations.softmax: {"name": "softmax"}, activations.log_softmax: {"name": "log_softmax"},
    activations.mish: {"name": "mish"}, activations.hard_sigmoid: {"name": "hard_sigmoid"},
    activations.hard_silu: {"name": "hard_swish"}, activations.softplus: {"name": "softplus"},
    activations.selu: {"name": "selu"}, activations.elu: {"name": "elu", "slope": 1.0},
    activations.leaky_relu: {"name": "leaky_relu", "slope": 0.2},
}  # fmt: skip
# Operations of a functional model that are no layers, by the name of their class.
_OPERATIONS = {
    "Relu": "relu", "Relu6": "relu6", "Silu": "silu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Softmax": "softmax",
    "LogSoftmax": "log_softmax", "HardSilu": "hard_swish", "Mish": "mish",
}  # fmt: skip
_FUSED = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv2D)


def fused_activation(layer: Any) -> Callable[[Any], Any] | None:
    """The activation that is part of a layer with weights."""
    function = getattr(layer, "activation", None) if isinstance(layer, _FUSED) else None
    return None if function is None or function is activations.linear else function


def activation(function: Any) -> dict[str, Any]:
    """An activation by name; "unknown" is found by its values."""
    return dict(_FUNCTIONS.get(function, {"name": "unknown", "function": getattr(function, "__name__", "?")}))


def describe_layer(layer: Any, shape: Sequence[int], training: bool) -> Described:
    """What a layer computes of an input of that shape."""
    if isinstance(layer, layers.Conv1D | layers.Conv2D | layers.Conv3D | layers.DepthwiseConv2D):
        return _convolution(layer, shape)
    if isinstance(layer, layers.Dense):
        return Described("dense", {}, _roles(weight=layer.kernel, bias=layer.bias))
    if isinstance(layer, layers.BatchNormalization):
        batch = training and layer.trainable
        roles = _roles(weight=layer.gamma, bias=layer.beta, mean=layer.moving_mean, variance=layer.moving_variance)
        return Described("batch_norm", {"eps": layer.epsilon, "momentum": 1 - layer.momentum, "batch": batch}, roles)
    if isinstance(layer, layers.LayerNormalization):
        axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
        roles = _roles(weight=layer.gamma, bias=layer.beta)
        return Described("layer_norm", {"eps": layer.epsilon, "axes": len(axes)}, roles)
    if isinstance(layer, layers.GroupNormalization):
        groups = shape[layer.axis] if layer.groups == -1 else layer.groups
        roles = _roles(weight=layer.gamma, bias=layer.beta)
        return Described("group_norm", {"eps": layer.epsilon, "groups": int(groups)}, roles)
    if isinstance(layer, layers.Dropout | layers.SpatialDropout2D):
        return Described("dropout", {"rate": layer.rate, "active": training and layer.rate > 0})
    return _activation(layer) or _shape(layer) or _pooling(layer, shape) or _other(layer)


def _roles(**variables: Any) -> dict[str, Any]:
    return {role: variable for role, variable in variables.items() if variable is not None}


def _convolution(layer: Any, shape: Sequence[int]) -> Described:
    kernel, stride = list(layer.kernel_size), list(layer.strides)
    dilation = list(layer.dilation_rate)
    first = layer.data_format == "channels_first"
    size, channels = (shape[2:], shape[1]) if first else (shape[1:-1], shape[-1])
    padding = _padding(layer.padding, size, [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)], stride)
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    config = {
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": int(channels) if depthwise else layer.groups,
        "padding_mode": "zeros",
        "said": layer.padding,
    }
    return Described(
        "conv", config | ({"depthwise": True} if depthwise else {}), _roles(weight=layer.kernel, bias=layer.bias)
    )


def _padding(said: str, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[list[int]]:
    """SAME: as much as a size that is rounded up needs, the odd one at the end."""
    if said != "same":
        return [[0, 0] for _ in kernel]
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, stride, strict=True)]
    return [[t // 2, t - t // 2] for t in total]


def _activation(layer: Any) -> Described | None:
    name = _OPERATIONS.get(type(layer).__name__)
    if isinstance(layer, layers.Activation):
        return Described("activation", activation(layer.activation))
    if isinstance(layer, layers.ReLU):
        slope = float(layer.negative_slope or 0)
        if layer.threshold or (layer.max_value not in (None, 6, 6.0)) or (slope and layer.max_value):
            return Described("activation", {"name": "unknown", "function": "ReLU"})
        plain = "relu" if layer.max_value is None else "relu6"
        return Described("activation", {"name": "leaky_relu", "slope": slope} if slope else {"name": plain})
    if isinstance(layer, layers.LeakyReLU):
        return Described("activation", {"name": "leaky_relu", "slope": float(layer.negative_slope)})
    if isinstance(layer, layers.ELU):
        return Described("activation", {"name": "elu", "slope": float(layer.alpha)})
    if isinstance(layer, layers.Softmax):
        return Described("activation", {"name": "softmax"})
    if type(layer).__name__ == "Gelu" and not isinstance(layer, layers.Layer):
        return Described("activation", {"name": "gelu_tanh" if layer.approximate else "gelu"})
    return None if name is None or isinstance(layer, layers.Layer) else Described("activation", {"name": name})


def _shape(layer: Any) -> Described | None:
    if isinstance(layer, layers.Flatten):
        first = layer.data_format == "channels_first"
        return Described("flatten", {"order": "first" if first else "last"})
    if isinstance(layer, layers.Permute):
        return Described("permute")
    if type(layer).__name__ == "Reshape":
        return Described(
            "flatten", {"order": "last" if keras.config.image_data_format() == "channels_last" else "first"}
        )
    if isinstance(layer, layers.ZeroPadding2D):
        return Described("pad", {"padding": [list(p) for p in layer.padding], "value": 0.0})
    if isinstance(layer, layers.Rescaling | layers.Normalization):
        return Described("rescale")
    for kind, classes in {"add": layers.Add, "concatenate": layers.Concatenate, "multiply": layers.Multiply}.items():
        if isinstance(layer, classes) or type(layer).__name__ == kind.capitalize():
            return Described(kind)
    identity = isinstance(layer, layers.Identity) or getattr(layer, "activation", None) is activations.linear
    return Described("identity") if identity else None


def _pooling(layer: Any, shape: Sequence[int]) -> Described | None:
    if isinstance(layer, layers.GlobalAveragePooling2D):
        return Described("global_pool", {"pooling": "mean"})
    if isinstance(layer, layers.GlobalMaxPooling2D):
        return Described("global_pool", {"pooling": "max"})
    if isinstance(layer, layers.MaxPooling2D | layers.AveragePooling2D):
        first = layer.data_format == "channels_first"
        size = shape[2:] if first else shape[1:-1]
        kernel, stride = list(layer.pool_size), list(layer.strides)
        mean = isinstance(layer, layers.AveragePooling2D)
        config = {"pooling": "mean" if mean else "max", "kernel": kernel, "stride": stride, "ceil": False}
        config |= {"padding": _padding(layer.padding, size, kernel, stride)}
        return Described("pool", config | ({"counted": False} if mean else {}))
    return None


def _other(layer: Any) -> Described:
    own = getattr(layer, "_trainable_variables", []) + getattr(layer, "_non_trainable_variables", [])
    return Described("other", {}, {variable.name: variable for variable in own})
