"""Habits of PyTorch and Keras in a network that is built: padding of convolutions, constants of batch normalisation.

What a running variance is divided by, `xfer_torch.norm` decides in each pass.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from xfer.specs.numerics import Numerics
from xfer_torch.nets.layers import SameConv2d


def apply(parts: Iterable[nn.Module], numerics: Numerics) -> None:
    """Give a network these habits; its tensors stay the same objects.

    Args:
        parts: the network, and its stages, which hold layers of it in containers of their own.
        numerics: what to change.
    """
    replaced: dict[nn.Module, nn.Module] = {}
    for module in [module for part in parts for module in part.modules()]:
        if isinstance(module, _BatchNorm):
            module.eps = module.eps if numerics.norm_eps is None else numerics.norm_eps
            module.momentum = module.momentum if numerics.norm_momentum is None else numerics.norm_momentum
        for name, layer in module.named_children():
            if isinstance(layer, nn.Conv2d) and numerics.padding and _has_a_choice(layer):
                if layer not in replaced:
                    replaced[layer] = _padded(layer, same=numerics.padding == "same")
                setattr(module, name, replaced[layer])


def _has_a_choice(layer: nn.Conv2d) -> bool:
    """Whether the two paddings differ: at a stride, for an odd kernel that is padded by half of it."""
    kernel, half = layer.kernel_size[0], layer.kernel_size[0] // 2
    odd = layer.kernel_size == (kernel, kernel) and kernel % 2 == 1 and kernel > 1
    return odd and layer.stride[0] > 1 and (isinstance(layer, SameConv2d) or layer.padding == (half, half))


def _padded(layer: nn.Conv2d, *, same: bool) -> nn.Conv2d:
    if isinstance(layer, SameConv2d) == same:
        return layer
    width, out, kernel, stride = layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0]
    with torch.device("meta"):
        if same:
            made: nn.Conv2d = SameConv2d(width, out, kernel, stride, layer.groups)
        else:
            made = nn.Conv2d(width, out, kernel, stride, kernel // 2, groups=layer.groups, bias=False)
    made.weight, made.bias = layer.weight, layer.bias
    return made
