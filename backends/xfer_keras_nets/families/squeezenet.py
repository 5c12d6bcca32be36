"""SqueezeNet, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import conv, max_pool, relu


def squeezenet(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Iandola et al. 2016 (arXiv:1602.07360); the head reads every place."""
    width, kernel = card.config["stem"]
    stage, stages = "stem", iter(list(card.blocks)[1:])
    x = relu(conv(x, "features.0", width, kernel, 2, bias=True), "features.1")
    for index, channels in enumerate((None, *card.config["layers"]), 2):
        if channels is None:
            yield stage, x
            stage, x = next(stages), max_pool(x, f"features.{index}", 3, 2, ceil=True)
        else:
            x = fire(x, f"features.{index}", *channels)
    yield stage, x
    yield "features", layers.Reshape((-1, card.feature_dim), name="features")(x)


def fire(x: Any, name: str, squeeze: int, expand: int) -> Any:
    """1x1 down, then 1x1 and 3x3 up side by side."""
    x = relu(conv(x, f"{name}.squeeze", squeeze, 1, bias=True), f"{name}.squeeze_activation")
    small = relu(conv(x, f"{name}.expand1x1", expand, 1, bias=True), f"{name}.expand1x1_activation")
    large = relu(conv(x, f"{name}.expand3x3", expand, 3, pad=1, bias=True), f"{name}.expand3x3_activation")
    return layers.Concatenate(name=name)([small, large])
