"""Layers that torch does not have, and parts of sequences as stages."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torchvision.ops import StochasticDepth

from xfer.zoo import Card


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding, built without bias: the output has ceil(size / stride) pixels.

    Where the padding is odd, the larger part is at the bottom and right.
    """

    def __init__(self, width: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(width, out, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out, ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, bottom = _same(x.shape[2], kernel, stride)
        left, right = _same(x.shape[3], kernel, stride)
        if top == bottom and left == right:
            return functional.conv2d(x, self.weight, self.bias, self.stride, (top, left), groups=self.groups)
        x = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def numbered(card: Card, layers: nn.Sequential) -> dict[str, nn.Module]:
    """The blocks of a card whose prefixes are `features.N`, as runs of a sequence of layers."""
    return {
        block: nn.Sequential(*(layers[int(prefix.rpartition(".")[2])] for prefix in prefixes))
        for block, prefixes in card.blocks.items()
        if prefixes[0].startswith("features.")
    }


def keras_norm(net: nn.Module, card: Card) -> None:
    """Give torchvision's network the constants that Keras's batch normalisation has."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps, layer.momentum = card.norm_eps, card.norm_momentum


def global_average() -> nn.Module:
    """(N, C, H, W) to (N, C)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


class HardSigmoid(nn.Module):
    """min(max(x + 3, 0), 6) / 6 to the last digit: torch's own has a gradient of float32's precision in float64."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, unchanged."""
        return functional.relu6(x + 3) / 6


class Dropped(nn.Sequential):
    """Dropout, and stochastic depth, at the end of a residual branch; their rates are set by `DropRates`."""

    def __init__(self, share: float) -> None:
        super().__init__(nn.Dropout(), StochasticDepth(share, "row"))


class MeanPlace(nn.Module):
    """The average over the places of a map."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, P, K) to (N, K)."""
        return x.mean(1)


class Undrawn(TorchFunctionMode):
    """A context in which modules are built with zeros where they would draw weights, which are about to be written."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Zeros, which every distribution of torch.nn.init accepts, instead of random numbers."""
        return args[0].zero_() if func in (Tensor.normal_, Tensor.uniform_) else func(*args, **(kwargs or {}))
