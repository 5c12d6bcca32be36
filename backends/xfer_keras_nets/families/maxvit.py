"""MaxViT, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer.zoo.maxvit import partition
from xfer_keras_nets.attention import Departition, Partition, WindowAttention
from xfer_keras_nets.layers import (
    average_pool,
    conv,
    conv_norm,
    gelu,
    global_average,
    layer_norm,
    norm,
    sigmoid,
    silu,
    squeeze_excite,
    stochastic_depth,
)


def maxvit(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Tu et al. 2022 (arXiv:2204.01697)."""
    stem, repeats = card.config["stem"], card.config["repeats"]
    x = conv_norm(x, "stem.0", stem, 3, 2, card=card, act=gelu)
    yield "stem", (x := conv(x, "stem.1.0", stem, 3, pad=1, bias=True))
    done = 0
    for block, (width, count) in enumerate(zip(card.config["widths"], repeats, strict=True)):
        for i in range(count):
            drop = card.config["stochastic_depth"] * done / (sum(repeats) - 1)
            x = layer(x, f"blocks.{block}.layers.{i}.layers", width, 2 if i == 0 else 1, drop, card)
            done += 1
        yield f"block{block + 1}", x
    x = layer_norm(global_average(x), "classifier.2", 1e-5)
    x = layers.Activation("tanh", name="classifier.4")(layers.Dense(card.feature_dim, name="classifier.3")(x))
    yield "classifier", x
    yield "features", layers.Identity(name="features")(x)


def layer(x: Any, name: str, width: int, stride: int, drop: float, card: Card) -> Any:
    """An inverted residual, attention inside windows, attention over a grid of places far apart."""
    x = mbconv(x, f"{name}.MBconv", width, stride, drop, card)
    x = partition_attention(x, f"{name}.window_attention", False, drop, card)
    return partition_attention(x, f"{name}.grid_attention", True, drop, card)


def mbconv(x: Any, name: str, width: int, stride: int, drop: float, card: Card) -> Any:
    """Normalise, expand, filter each channel, weigh channels by the whole image, project; beside a shortcut."""
    hidden, inside = 4 * width, f"{name}.layers"
    y = conv_norm(norm(x, f"{inside}.pre_norm", card), f"{inside}.conv_a", hidden, 1, card=card, act=gelu)
    y = conv_norm(y, f"{inside}.conv_b", hidden, 3, stride, card=card, act=gelu, groups=hidden)
    y = squeeze_excite(y, f"{inside}.squeeze_excitation", width // 4, silu, sigmoid)
    y = stochastic_depth(conv(y, f"{inside}.conv_c", width, 1, bias=True), name, drop)
    if stride > 1:
        x = conv(average_pool(x, f"{name}.proj.0", 3, stride, pad=1), f"{name}.proj.1", width, 1, bias=True)
    return layers.Add(name=f"{name}.add")([x, y])


def partition_attention(x: Any, name: str, grid: bool, drop: float, card: Card) -> Any:
    """Attention, then an MLP on each place, inside the groups of a partition; each added to its input."""
    _, height, width, channels = x.shape
    side = partition(card.config["size"])
    window = height // side if grid else side
    x = Partition(window, grid=grid, name=f"{name}.partition")(x)
    y = layers.Dense(3 * channels, name=f"{name}.attn_layer.1.to_qkv")(layer_norm(x, f"{name}.attn_layer.0", 1e-5))
    heads = channels // card.config["head_width"]
    y = WindowAttention(heads, side, scale=channels**-0.5, name=f"{name}.attn_layer.1")(y)
    y = layers.Dense(channels, name=f"{name}.attn_layer.1.merge")(y)
    x = layers.Add(name=f"{name}.add1")([x, stochastic_depth(y, f"{name}.1", drop)])
    y = layers.Dense(4 * channels, name=f"{name}.mlp_layer.1")(layer_norm(x, f"{name}.mlp_layer.0", 1e-5))
    y = layers.Dense(channels, name=f"{name}.mlp_layer.3")(gelu(y, f"{name}.mlp_layer.2"))
    x = layers.Add(name=f"{name}.add2")([x, stochastic_depth(y, f"{name}.2", drop)])
    return Departition((height, width), window, grid=grid, name=f"{name}.departition")(x)
