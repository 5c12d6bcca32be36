"""ConvNeXt v2 with timm's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import GlobalResponseNorm, conv, depthwise, gelu, global_average, layer_norm


def convnext_v2(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Woo et al. 2023 (arXiv:2301.00808); a stage begins with its downsampling."""
    widths, depths, eps = card.config["widths"], card.config["depths"], card.norm_eps
    yield "stem", (x := layer_norm(conv(x, "stem.0", widths[0], 4, 4, bias=True), "stem.1", eps))
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            x = layer_norm(x, f"stages.{stage}.downsample.0", eps)
            x = conv(x, f"stages.{stage}.downsample.1", width, 2, 2, bias=True)
        for i in range(depth):
            x = block(x, f"stages.{stage}.blocks.{i}", card)
        yield f"stage{stage + 1}", x
    yield "norm", (x := layer_norm(global_average(x), "head.norm", eps))
    yield "features", layers.Identity(name="features")(x)


def block(x: Any, name: str, card: Card) -> Any:
    """A filter of 7 x 7 pixels a channel, and an MLP with global response normalisation, added to the input."""
    width = x.shape[-1]
    y = layer_norm(depthwise(x, f"{name}.conv_dw", 7, pad=3, bias=True), f"{name}.norm", card.norm_eps)
    y = gelu(linear(y, f"{name}.mlp.fc1", 4 * width, card), f"{name}.mlp.act")
    y = linear(GlobalResponseNorm(name=f"{name}.mlp.grn")(y), f"{name}.mlp.fc2", width, card)
    return layers.Add(name=f"{name}.add")([x, y])


def linear(x: Any, name: str, width: int, card: Card) -> Any:
    """A linear layer of each pixel, which timm has as a convolution in the smaller networks."""
    if card.config["convolutions"]:
        return conv(x, name, width, 1, bias=True)
    return layers.Dense(width, name=name)(x)
