"""Swin and Swin v2, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.attention import CosineWindowAttention, Departition, KeylessBias, Partition, WindowAttention
from xfer_keras_nets.layers import conv, gelu, global_average, layer_norm, stochastic_depth


def swin(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Liu et al. 2021 (arXiv:2103.14030, arXiv:2111.09883); windows are shifted in every other layer."""
    depths, eps = card.config["depths"], card.norm_eps
    yield "stem", (x := layer_norm(conv(x, "features.0.0", card.config["width"], 4, 4, bias=True), "features.0.2", eps))
    done = 0
    for stage, (depth, heads) in enumerate(zip(depths, card.config["heads"], strict=True), 1):
        if stage > 1:
            x = merge_patches(x, f"features.{2 * stage - 2}", card)
        for i in range(depth):
            drop = card.config["stochastic_depth"] * done / (sum(depths) - 1)
            x = block(x, f"features.{2 * stage - 1}.{i}", heads, i % 2 == 1, drop, card)
            done += 1
        yield f"stage{stage}", x
    yield "norm", (x := layer_norm(x, "norm", eps))
    yield "features", global_average(x)


def block(x: Any, name: str, heads: int, shifted: bool, drop: float, card: Card) -> Any:
    """Attention, then an MLP on each place, each added to its input; normalised before (v1) or after (v2)."""
    width, eps = x.shape[-1], card.norm_eps

    def attention(y: Any) -> Any:
        return window_attention(y, f"{name}.attn", heads, shifted, card)

    def mlp(y: Any) -> Any:
        y = gelu(layers.Dense(4 * width, name=f"{name}.mlp.0")(y), f"{name}.mlp.1")
        return layers.Dense(width, name=f"{name}.mlp.3")(y)

    for i, branch in enumerate((attention, mlp), 1):
        norm = f"{name}.norm{i}"
        y = branch(layer_norm(x, norm, eps)) if card.config["version"] == 1 else layer_norm(branch(x), norm, eps)
        x = layers.Add(name=f"{name}.add{i}")([x, stochastic_depth(y, f"{name}.{i}", drop)])
    return x


def window_attention(x: Any, name: str, heads: int, shifted: bool, card: Card) -> Any:
    """Attention inside windows of a map that is padded to whole windows; a map of one window is not shifted."""
    _, height, width, channels = x.shape
    window = card.config["window"]
    bottom, right = -height % window, -width % window
    size = (height + bottom, width + right)
    shift = tuple(window // 2 if shifted and side > window else 0 for side in size)
    if bottom or right:
        x = layers.ZeroPadding2D(((0, bottom), (0, right)), name=f"{name}.pad")(x)
    x = Partition(window, shift, name=f"{name}.partition")(x)
    if card.config["version"] == 2:
        x = KeylessBias(3 * channels, name=f"{name}.qkv")(x)
        x = CosineWindowAttention(heads, window, size, shift, name=name)(x)
    else:
        x = layers.Dense(3 * channels, name=f"{name}.qkv")(x)
        x = WindowAttention(heads, window, size, shift, name=name)(x)
    x = layers.Dense(channels, name=f"{name}.proj")(x)
    x = Departition(size, window, shift=shift, name=f"{name}.departition")(x)
    return x[:, :height, :width] if bottom or right else x


def merge_patches(x: Any, name: str, card: Card) -> Any:
    """Each four neighbours made one, with twice the channels; an odd map is padded."""
    _, height, width, channels = x.shape
    if height % 2 or width % 2:
        x = layers.ZeroPadding2D(((0, height % 2), (0, width % 2)), name=f"{name}.pad")(x)
    corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    x = layers.Concatenate(name=f"{name}.concat")(corners)
    reduction = layers.Dense(2 * channels, use_bias=False, name=f"{name}.reduction")
    if card.config["version"] == 2:
        return layer_norm(reduction(x), f"{name}.norm", card.norm_eps)
    return reduction(layer_norm(x, f"{name}.norm", card.norm_eps))
