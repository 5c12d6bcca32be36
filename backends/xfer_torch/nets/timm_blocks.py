"""Blocks of mobile networks with timm's names; see `xfer.zoo.timm_blocks`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from xfer.zoo import Card
from xfer.zoo.timm_blocks import Block
from xfer_torch.nets.layers import SameConv2d

ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6, "silu": nn.SiLU}
Layers = Mapping[str, nn.Module]


def stages(card: Card) -> nn.Sequential:
    """All stages, each a sequence of blocks."""
    width, found = card.config["stem"], nn.Sequential()
    for blocks in card.config["stages"]:
        stage = nn.Sequential()
        for block in blocks:
            stage.append(Residual(block.residual(width), BLOCKS[block.kind](card, width, block)))
            width = block.width
        found.append(stage)
    return found


class Residual(nn.Sequential):
    """Layers one after the other, with the input added to their output where shapes agree."""

    def __init__(self, residual: bool, layers: Layers) -> None:
        super().__init__(OrderedDict(layers))
        self.residual = residual

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out, H / stride, W / stride)."""
        return super().forward(input) + input if self.residual else super().forward(input)


def convolution(card: Card, width: int, block: Block) -> Layers:
    """A convolution."""
    return {
        "conv": conv(card, width, block.width, block.kernel, block.stride),
        "bn1": norm(card, block.width),
        "act1": activation(card),
    }


def depthwise_separable(card: Card, width: int, block: Block) -> Layers:
    """Filter each channel, project."""
    return {
        "conv_dw": conv(card, width, width, block.kernel, block.stride, width),
        "bn1": norm(card, width),
        "act1": activation(card),
        **squeeze_excite(card, width, block.squeezed(width)),
        "conv_pw": conv(card, width, block.width),
        "bn2": norm(card, block.width),
    }


def inverted_residual(card: Card, width: int, block: Block) -> Layers:
    """Expand, filter each channel, project (Sandler et al. 2018, arXiv:1801.04381)."""
    hidden = width * block.expansion
    return {
        "conv_pw": conv(card, width, hidden),
        "bn1": norm(card, hidden),
        "act1": activation(card),
        "conv_dw": conv(card, hidden, hidden, block.kernel, block.stride, hidden),
        "bn2": norm(card, hidden),
        "act2": activation(card),
        **squeeze_excite(card, hidden, block.squeezed(width)),
        "conv_pwl": conv(card, hidden, block.width),
        "bn3": norm(card, block.width),
    }


def edge_residual(card: Card, width: int, block: Block) -> Layers:
    """Expand and filter in one dense convolution, project."""
    hidden = width * block.expansion
    return {
        "conv_exp": conv(card, width, hidden, block.kernel, block.stride),
        "bn1": norm(card, hidden),
        "act1": activation(card),
        **squeeze_excite(card, hidden, block.squeezed(width)),
        "conv_pwl": conv(card, hidden, block.width),
        "bn2": norm(card, block.width),
    }


def universal_inverted_bottleneck(card: Card, width: int, block: Block) -> Layers:
    """Expand, project, and filter each channel before, between, in both places or in none (arXiv:2404.10518)."""
    hidden = width * block.expansion
    start, middle = block.start, block.kernel
    found: dict[str, nn.Module] = {}
    if start:
        found["dw_start"] = conv_norm(card, width, width, start, 1 if middle else block.stride, width, act=False)
    found["pw_exp"] = conv_norm(card, width, hidden)
    if middle:
        found["dw_mid"] = conv_norm(card, hidden, hidden, middle, block.stride, hidden)
    found["pw_proj"] = conv_norm(card, hidden, block.width, act=False)
    return found | layer_scale(card, block.width)


def mobile_attention(card: Card, width: int, block: Block) -> Layers:
    """Multi-query attention of a map."""
    attention = MultiQueryAttention(card, width, block)
    return {"norm": norm(card, width), "attn": attention, **layer_scale(card, block.width)}


class MultiQueryAttention(nn.Module):
    """Softmax attention of all places of a map, with one head of keys and values (Shazeer 2019, arXiv:1911.02150)."""

    def __init__(self, card: Card, width: int, block: Block) -> None:
        super().__init__()
        self.heads = block.heads
        self.query = nn.Sequential(OrderedDict(proj=conv(card, width, block.heads * block.key)))
        self.key, self.value = (
            nn.Sequential(
                OrderedDict(fewer_places(card, width, block), proj=conv(card, width, block.key)),
            )
            for _ in range(2)
        )
        self.output = nn.Sequential(OrderedDict(proj=conv(card, block.heads * block.key, block.width)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out, H, W)."""
        # Rows of a matrix of queries are all heads of all places.
        query = self.query(x).flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3).flatten(1, 2)
        key, value = self.key(x).flatten(2).transpose(1, 2), self.value(x).flatten(2).transpose(1, 2)
        y = functional.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
        y = y.unflatten(1, (self.heads, -1)).transpose(2, 3).flatten(1, 2)
        return self.output(y.unflatten(2, x.shape[2:]))


def fewer_places(card: Card, width: int, block: Block) -> Layers:
    """A filter of each channel with a stride, if keys and values are of fewer places than queries."""
    if block.key_stride == 1:
        return {}
    return {"down_conv": conv(card, width, width, block.kernel, block.key_stride, width), "norm": norm(card, width)}


class SqueezeExcite(nn.Module):
    """Channels weighted by what is in the image as a whole (Hu et al. 2017, arXiv:1709.01507)."""

    def __init__(self, card: Card, width: int, squeezed: int) -> None:
        super().__init__()
        self.conv_reduce, self.act1 = nn.Conv2d(width, squeezed, 1), activation(card)
        self.conv_expand = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        y = self.conv_expand(self.act1(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * y.sigmoid()


class LayerScale2d(nn.Module):
    """Channels times a learned factor each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        return x * self.gamma.view(1, -1, 1, 1)


def squeeze_excite(card: Card, width: int, squeezed: int) -> Layers:
    """Squeeze-and-excitation, if the block has it."""
    return {"se": SqueezeExcite(card, width, squeezed)} if squeezed else {}


def layer_scale(card: Card, width: int) -> Layers:
    """Learned factors of channels, if the network has them."""
    return {"layer_scale": LayerScale2d(width)} if card.config["layer_scale"] else {}


def conv(card: Card, width: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias, with the padding of the card."""
    if card.config["padding"] == "same":
        return SameConv2d(width, out, kernel, stride, groups)
    return nn.Conv2d(width, out, kernel, stride, kernel // 2, groups=groups, bias=False)


def conv_norm(
    card: Card, width: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    """timm's ConvNormAct."""
    layers = {"conv": conv(card, width, out, kernel, stride, groups), "bn": norm(card, out)}
    return nn.Sequential(OrderedDict(layers | ({"act": activation(card)} if act else {})))


def norm(card: Card, width: int) -> nn.BatchNorm2d:
    """Batch normalisation with the constants of the card."""
    return nn.BatchNorm2d(width, eps=card.norm_eps, momentum=card.norm_momentum)


def activation(card: Card) -> nn.Module:
    """The activation of the card; none of its inputs is used elsewhere."""
    name = card.config["activation"]
    return nn.GELU() if name == "gelu" else ACTIVATIONS[name](inplace=True)


BLOCKS = {
    "cn": convolution,
    "ds": depthwise_separable,
    "ir": inverted_residual,
    "er": edge_residual,
    "uir": universal_inverted_bottleneck,
    "mqa": mobile_attention,
}
