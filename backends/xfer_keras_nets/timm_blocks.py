"""Blocks of mobile networks with timm's names; see `xfer.zoo.timm_blocks`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer.zoo.timm_blocks import Block
from xfer_keras_nets import layers as nets
from xfer_keras_nets.attention import MultiQueryAttention
from xfer_keras_nets.layers import Activation, LayerScale, gelu, relu, relu6, sigmoid, silu

ACTIVATIONS: dict[str, Activation] = {"relu": relu, "relu6": relu6, "silu": silu, "gelu": gelu}


def stages(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """All stages in forward order."""
    for stage, blocks in enumerate(card.config["stages"]):
        for i, block in enumerate(blocks):
            name = f"blocks.{stage}.{i}"
            y = BLOCKS[block.kind](x, name, block, card)
            x = layers.Add(name=f"{name}.add")([y, x]) if block.residual(x.shape[-1]) else y
        yield f"stage{stage}", x


def convolution(x: Any, name: str, block: Block, card: Card) -> Any:
    """A convolution."""
    x = conv(x, f"{name}.conv", block.width, card, block.kernel, block.stride)
    return norm_act(x, f"{name}.bn1", f"{name}.act1", card)


def depthwise_separable(x: Any, name: str, block: Block, card: Card) -> Any:
    """Filter each channel, project."""
    squeezed = block.squeezed(x.shape[-1])
    y = depthwise(x, f"{name}.conv_dw", card, block.kernel, block.stride)
    y = squeeze_excite(norm_act(y, f"{name}.bn1", f"{name}.act1", card), f"{name}.se", squeezed, card)
    return nets.norm(conv(y, f"{name}.conv_pw", block.width, card), f"{name}.bn2", card)


def inverted_residual(x: Any, name: str, block: Block, card: Card) -> Any:
    """Expand, filter each channel, project (Sandler et al. 2018, arXiv:1801.04381)."""
    width = x.shape[-1]
    y = conv(x, f"{name}.conv_pw", width * block.expansion, card)
    y = norm_act(y, f"{name}.bn1", f"{name}.act1", card)
    y = depthwise(y, f"{name}.conv_dw", card, block.kernel, block.stride)
    y = norm_act(y, f"{name}.bn2", f"{name}.act2", card)
    y = squeeze_excite(y, f"{name}.se", block.squeezed(width), card)
    return nets.norm(conv(y, f"{name}.conv_pwl", block.width, card), f"{name}.bn3", card)


def edge_residual(x: Any, name: str, block: Block, card: Card) -> Any:
    """Expand and filter in one dense convolution, project."""
    width = x.shape[-1]
    y = conv(x, f"{name}.conv_exp", width * block.expansion, card, block.kernel, block.stride)
    y = norm_act(y, f"{name}.bn1", f"{name}.act1", card)
    y = squeeze_excite(y, f"{name}.se", block.squeezed(width), card)
    return nets.norm(conv(y, f"{name}.conv_pwl", block.width, card), f"{name}.bn2", card)


def universal_inverted_bottleneck(x: Any, name: str, block: Block, card: Card) -> Any:
    """Expand, project, and filter each channel before, between, in both places or in none (arXiv:2404.10518)."""
    hidden, y = x.shape[-1] * block.expansion, x
    if block.start:
        y = depthwise(y, f"{name}.dw_start.conv", card, block.start, 1 if block.kernel else block.stride)
        y = nets.norm(y, f"{name}.dw_start.bn", card)
    y = conv(y, f"{name}.pw_exp.conv", hidden, card)
    y = norm_act(y, f"{name}.pw_exp.bn", f"{name}.pw_exp.act", card)
    if block.kernel:
        y = depthwise(y, f"{name}.dw_mid.conv", card, block.kernel, block.stride)
        y = norm_act(y, f"{name}.dw_mid.bn", f"{name}.dw_mid.act", card)
    y = nets.norm(conv(y, f"{name}.pw_proj.conv", block.width, card), f"{name}.pw_proj.bn", card)
    return scaled(y, name, card)


def mobile_attention(x: Any, name: str, block: Block, card: Card) -> Any:
    """Multi-query attention of a map."""
    x = nets.norm(x, f"{name}.norm", card)
    query = conv(x, f"{name}.attn.query.proj", block.heads * block.key, card)
    key, value = (keys(x, f"{name}.attn.{part}", block, card) for part in ("key", "value"))
    y = MultiQueryAttention(name=f"{name}.attn")([query, key, value])
    return scaled(conv(y, f"{name}.attn.output.proj", block.width, card), name, card)


def keys(x: Any, name: str, block: Block, card: Card) -> Any:
    """Keys or values, of fewer places if the block says so."""
    if block.key_stride > 1:
        x = depthwise(x, f"{name}.down_conv", card, block.kernel, block.key_stride)
        x = nets.norm(x, f"{name}.norm", card)
    return conv(x, f"{name}.proj", block.key, card)


def squeeze_excite(x: Any, name: str, squeezed: int, card: Card) -> Any:
    """Squeeze-and-excitation, if the block has it."""
    if not squeezed:
        return x
    act = ACTIVATIONS[card.config["activation"]]
    return nets.squeeze_excite(x, name, squeezed, act, sigmoid, ("conv_reduce", "conv_expand"))


def scaled(x: Any, name: str, card: Card) -> Any:
    """Each channel times a learned factor, if the network has them."""
    return LayerScale(name=f"{name}.layer_scale")(x) if card.config["layer_scale"] else x


def conv(x: Any, name: str, width: int, card: Card, kernel: int = 1, stride: int = 1) -> Any:
    """A convolution without bias, with the padding of the card."""
    return nets.conv(x, name, width, kernel, stride, pad=_padding(card, kernel))


def depthwise(x: Any, name: str, card: Card, kernel: int, stride: int) -> Any:
    """A convolution of each channel by itself."""
    return nets.depthwise(x, name, kernel, stride, pad=_padding(card, kernel))


def _padding(card: Card, kernel: int) -> nets.Padding:
    return "same" if card.config["padding"] == "same" else kernel // 2


def norm_act(x: Any, norm: str, act: str, card: Card) -> Any:
    """Batch normalisation and the activation of the card."""
    return ACTIVATIONS[card.config["activation"]](nets.norm(x, norm, card), act)


BLOCKS = {
    "cn": convolution,
    "ds": depthwise_separable,
    "ir": inverted_residual,
    "er": edge_residual,
    "uir": universal_inverted_bottleneck,
    "mqa": mobile_attention,
}
