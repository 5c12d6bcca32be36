"""What modules and functions of torch compute, in the terms of `xfer.traces.reference`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Described:
    """A kind, its configuration, and names of its tensors by role."""

    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)


_ACTIVATIONS: dict[type, str] = {
    nn.ReLU: "relu", nn.ReLU6: "relu6", nn.SiLU: "silu", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh", nn.Mish: "mish",
    nn.Hardswish: "hard_swish", nn.Hardsigmoid: "hard_sigmoid", nn.Softmax: "softmax", nn.LogSoftmax: "log_softmax",
    nn.Softplus: "softplus", nn.SELU: "selu",
}  # fmt: skip

# Functions that are seen where a module calls them itself.
FUNCTIONS: dict[Any, str] = {
    F.relu: "relu", torch.relu: "relu", torch.relu_: "relu", torch.Tensor.relu: "relu", torch.Tensor.relu_: "relu",
    F.relu6: "relu6", F.gelu: "gelu", F.silu: "silu", F.hardswish: "hard_swish", F.mish: "mish",
    torch.sigmoid: "sigmoid", torch.Tensor.sigmoid: "sigmoid", torch.tanh: "tanh", torch.Tensor.tanh: "tanh",
    F.softmax: "softmax", torch.softmax: "softmax", torch.Tensor.softmax: "softmax",
    F.log_softmax: "log_softmax", torch.log_softmax: "log_softmax", F.leaky_relu: "leaky_relu", F.elu: "elu",
    F.max_pool2d: "max_pool2d", F.avg_pool2d: "avg_pool2d", F.adaptive_avg_pool2d: "adaptive_avg_pool2d",
    torch.flatten: "flatten", torch.Tensor.flatten: "flatten", torch.Tensor.view: "view",
    torch.Tensor.reshape: "view", torch.reshape: "view", torch.permute: "permute", torch.Tensor.permute: "permute",
    torch.Tensor.mean: "mean", torch.mean: "mean", F.pad: "pad", F.dropout: "dropout",
    torch.add: "add", torch.Tensor.add: "add", torch.Tensor.add_: "add", torch.Tensor.__add__: "add",
    torch.Tensor.__iadd__: "add", torch.cat: "concatenate", torch.concat: "concatenate",
    torch.mul: "multiply", torch.Tensor.mul: "multiply", torch.Tensor.__mul__: "multiply",
}  # fmt: skip
_PLAIN = {"relu", "relu6", "silu", "hard_swish", "mish", "sigmoid", "tanh", "softmax", "log_softmax"}


def describe_module(module: nn.Module) -> Described | None:
    """What a module computes; None for one whose parts are described in its place."""
    own = {name for name, _ in module.named_parameters(recurse=False)}
    roles = {role: role for role in ("weight", "bias") if role in own}
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        config = {
            "kernel": list(module.kernel_size),
            "stride": list(module.stride),
            "padding": _padding(module.padding, module.kernel_size, module.dilation),
            "dilation": list(module.dilation),
            "groups": module.groups,
            "padding_mode": module.padding_mode,
        }
        return Described("conv", config, roles)
    if isinstance(module, nn.Linear):
        return Described("dense", {}, roles)
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        kept = module.running_mean is not None
        statistics = {"mean": "running_mean", "variance": "running_var"} if kept else {}
        momentum = module.momentum if module.momentum is not None else 0.0
        config = {"eps": module.eps, "momentum": momentum, "batch": module.training or not kept}
        return Described("batch_norm", config, roles | statistics)
    if isinstance(module, nn.LayerNorm):
        return Described("layer_norm", {"eps": module.eps, "axes": len(module.normalized_shape)}, roles)
    if isinstance(module, nn.GroupNorm):
        return Described("group_norm", {"eps": module.eps, "groups": module.num_groups}, roles)
    if isinstance(module, nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d):
        return Described("dropout", {"rate": module.p, "active": module.training and module.p > 0})
    if isinstance(module, nn.Flatten):
        return Described("flatten", {"order": "first"})
    if isinstance(module, nn.Identity):
        return Described("identity")
    if isinstance(module, nn.ZeroPad2d):
        left, right, top, bottom = module.padding
        return Described("pad", {"padding": [[top, bottom], [left, right]], "value": 0.0})
    return _activation(module) or _pooling(module) or (
        None if any(True for _ in module.children()) else Described("other", {}, {n: n for n in sorted(own)})
    )  # fmt: skip


def describe_unknown(name: str, before: Sequence[int], after: Sequence[int]) -> Described:
    """A module of the user without parameters and children, by the shapes of its input and output."""
    if tuple(before) == tuple(after):
        return Described("activation", {"name": "unknown", "function": name})  # which one is found by its values
    flat = len(after) == 2 and math.prod(before) == math.prod(after)
    return Described("flatten", {"order": "first"}) if flat else Described("other")


def _activation(module: nn.Module) -> Described | None:
    if isinstance(module, nn.GELU):
        return Described("activation", {"name": "gelu" if module.approximate == "none" else "gelu_tanh"})
    if isinstance(module, nn.LeakyReLU):
        return Described("activation", {"name": "leaky_relu", "slope": module.negative_slope})
    if isinstance(module, nn.ELU):
        return Described("activation", {"name": "elu", "slope": module.alpha})
    name = _ACTIVATIONS.get(type(module))
    return None if name is None else Described("activation", {"name": name})


def _pooling(module: nn.Module) -> Described | None:
    if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
        return Described("global_pool", {"pooling": "mean"})
    if isinstance(module, nn.AdaptiveMaxPool2d) and module.output_size in (1, (1, 1)):
        return Described("global_pool", {"pooling": "max"})
    if isinstance(module, nn.MaxPool2d):
        return _pool("max", module.kernel_size, module.stride, module.padding, module.ceil_mode, False)
    if isinstance(module, nn.AvgPool2d):
        counted = module.count_include_pad and module.divisor_override is None
        return _pool("mean", module.kernel_size, module.stride, module.padding, module.ceil_mode, counted)
    return None


def _pool(kind: str, kernel: Any, stride: Any, padding: Any, ceil: bool, counted: bool) -> Described:
    size = _pair(kernel)
    config: dict[str, Any] = {
        "pooling": kind,
        "kernel": size,
        "stride": _pair(size if stride in (None, []) else stride),
    }
    config |= {"padding": [[p, p] for p in _pair(padding)], "ceil": bool(ceil)}
    return Described("pool", config | ({"counted": bool(counted)} if kind == "mean" else {}))


def describe_function(name: str, args: Sequence[Any], options: dict[str, Any]) -> Described | None:
    """What a call of one of `FUNCTIONS` computes; `args` have the shapes of tensors in their place."""

    def given(place: int, key: str, default: Any) -> Any:
        return args[place] if len(args) > place else options.get(key, default)

    if name in _PLAIN:
        return Described("activation", {"name": name})
    if name == "gelu":
        tanh = given(1, "approximate", "none") == "tanh"
        return Described("activation", {"name": "gelu_tanh" if tanh else "gelu"})
    if name in ("leaky_relu", "elu"):
        return Described(
            "activation", {"name": name, "slope": given(1, "negative_slope", 0.01) if name != "elu" else 1.0}
        )
    if name == "max_pool2d":
        return _pool("max", given(1, "kernel_size", 1), given(2, "stride", None), given(3, "padding", 0),
                     given(5, "ceil_mode", False), False)  # fmt: skip
    if name == "avg_pool2d":
        return _pool("mean", given(1, "kernel_size", 1), given(2, "stride", None), given(3, "padding", 0),
                     given(4, "ceil_mode", False), given(5, "count_include_pad", True))  # fmt: skip
    if name == "adaptive_avg_pool2d":
        return Described("global_pool", {"pooling": "mean"}) if given(1, "output_size", 1) in (1, (1, 1)) else None
    if name in ("flatten", "view"):
        return Described("flatten", {"order": "first"})
    if name == "mean":
        axes = given(1, "dim", None)
        return Described("global_pool", {"pooling": "mean"}) if _spatial(axes, args[0]) else Described("other")
    if name == "pad":
        numbers = list(given(1, "pad", ()))
        if len(numbers) == 4 and given(2, "mode", "constant") == "constant":
            return Described("pad", {"padding": [numbers[2:], numbers[:2]], "value": float(given(3, "value", 0) or 0)})
        return Described("other")
    if name == "dropout":
        rate, active = given(1, "p", 0.5), bool(given(2, "training", True))
        return Described("dropout", {"rate": rate, "active": active and rate > 0})
    return Described(name if name in ("add", "concatenate", "multiply", "permute") else "other")


def _spatial(axes: Any, shape: Any) -> bool:
    """Whether the axes of a mean are height and width."""
    if not isinstance(axes, list | tuple) or not isinstance(shape, tuple) or len(shape) != 4:
        return False
    return {axis % 4 for axis in axes} == {2, 3}


def _padding(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[list[int]]:
    if padding == "same":  # of stride 1 alone
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return [[t // 2, t - t // 2] for t in total]
    return [[0, 0] for _ in kernel] if padding == "valid" else [[p, p] for p in padding]


def _pair(value: Any) -> list[int]:
    return [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)] * 2
