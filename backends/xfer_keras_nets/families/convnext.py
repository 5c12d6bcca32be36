"""ConvNeXt, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import Scale, conv, depthwise, gelu, global_average, layer_norm, stochastic_depth


def convnext(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Liu et al. 2022 (arXiv:2201.03545)."""
    width, repeats, eps = card.config["width"], card.config["repeats"], card.norm_eps
    yield "stem", (x := layer_norm(conv(x, "features.0.0", width, 4, 4, bias=True), "features.0.1", eps))
    done = 0
    for stage, count in enumerate(repeats, 1):
        if stage > 1:
            down = f"features.{2 * stage - 2}"
            x = conv(layer_norm(x, f"{down}.0", eps), f"{down}.1", 2 * x.shape[-1], 2, 2, bias=True)
        for i in range(count):
            drop = card.config["stochastic_depth"] * done / (sum(repeats) - 1)
            x = cn_block(x, f"features.{2 * stage - 1}.{i}", drop, eps)
            done += 1
        yield f"stage{stage}", x
    yield "norm", (x := layer_norm(global_average(x), "classifier.0", eps))
    yield "features", layers.Identity(name="features")(x)


def cn_block(x: Any, name: str, drop: float, eps: float) -> Any:
    """A wide depthwise convolution, then an MLP on each pixel, scaled and added to the input."""
    width = x.shape[-1]
    y = layer_norm(depthwise(x, f"{name}.block.0", 7, pad=3, bias=True), f"{name}.block.2", eps)
    y = gelu(layers.Dense(4 * width, name=f"{name}.block.3")(y), f"{name}.block.4")
    y = layers.Dense(width, name=f"{name}.block.5")(y)
    y = stochastic_depth(Scale(name=name)(y), name, drop)
    return layers.Add(name=f"{name}.add")([y, x])
