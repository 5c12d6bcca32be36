"""ConvNeXt v2 with timm's names."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.ops import Permute

from xfer.zoo import Card
from xfer_torch.nets.layers import global_average


def convnext_v2(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Woo et al. 2023 (arXiv:2301.00808); a stage begins with its downsampling."""
    net = ConvNext(card)
    return net, net.parts()


class ConvNext(nn.Module):
    """Four stages and a head; its tensors have timm's names."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        widths, depths, eps = card.config["widths"], card.config["depths"], card.norm_eps
        before = (None, *widths)
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0], eps))
        self.stages = nn.Sequential(*(stage(*sizes, card) for sizes in zip(before, widths, depths, strict=False)))
        self.head = nn.Sequential(OrderedDict(norm=nn.LayerNorm(widths[-1], eps), fc=nn.Linear(widths[-1], 1000)))

    def parts(self) -> dict[str, nn.Module]:
        """The blocks of the card, and the features."""
        stages = {f"stage{i}": part for i, part in enumerate(self.stages, 1)}
        norm = nn.Sequential(global_average(), self.head.norm)
        return {"stem": self.stem, **stages, "norm": norm, "features": nn.Identity()}

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, K)."""
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


def stage(width: int | None, out: int, depth: int, card: Card) -> nn.Module:
    """Blocks, after a convolution of 2 x 2 pixels if there was a stage before."""
    first: nn.Module = nn.Identity()
    if width is not None:
        first = nn.Sequential(ChannelNorm(width, card.norm_eps), nn.Conv2d(width, out, 2, 2))
    blocks = nn.Sequential(*(Block(out, card) for _ in range(depth)))
    return nn.Sequential(OrderedDict(downsample=first, blocks=blocks))


class Block(nn.Module):
    """A filter of 7 x 7 pixels a channel, and an MLP with global response normalisation, added to the input."""

    def __init__(self, width: int, card: Card) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, card.norm_eps)
        self.mlp = Mlp(width, card.config["convolutions"])

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        y = self.norm(self.conv_dw(x).permute(0, 2, 3, 1))
        return x + self.mlp(y).permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Two linear layers, which timm has as convolutions of one pixel in the smaller networks."""

    def __init__(self, width: int, convolutions: bool) -> None:
        super().__init__()
        kind = PixelConv if convolutions else nn.Linear
        self.fc1, self.act, self.grn = kind(width, 4 * width), nn.GELU(), GlobalResponseNorm(4 * width)
        self.fc2 = kind(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to (N, H, W, C)."""
        return self.fc2(self.grn(self.act(self.fc1(x))))


class PixelConv(nn.Conv2d):
    """A convolution of one pixel, computed as a linear layer of the last axis."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(width, out, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(..., C) to (..., out)."""
        return nn.functional.linear(input, self.weight.flatten(1), self.bias)


class GlobalResponseNorm(nn.Module):
    """Channels times their share in the response of the whole map (arXiv:2301.00808)."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to (N, H, W, C)."""
        response = x.norm(dim=(1, 2), keepdim=True)
        share = response / (response.mean(-1, keepdim=True) + self.eps)
        return x + self.weight * (x * share) + self.bias


class ChannelNorm(nn.LayerNorm):
    """Normalisation of each pixel of a map over its channels."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__(width, eps)
        self.last, self.first = Permute([0, 2, 3, 1]), Permute([0, 3, 1, 2])

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        return self.first(super().forward(self.last(input)))
