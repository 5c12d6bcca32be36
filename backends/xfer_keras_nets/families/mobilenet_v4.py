"""MobileNet v4 with timm's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.timm_blocks import conv, norm_act, stages


def mobilenet_v4(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Qin et al. 2024 (arXiv:2404.10518); the last convolution is of the average of all places."""
    x = norm_act(conv(x, "conv_stem", card.config["stem"], card, 3, 2), "bn1", "act1", card)
    yield "stem", x
    for stage in stages(x, card):
        yield stage
        x = stage[1]
    x = layers.GlobalAveragePooling2D(keepdims=True, name="avgpool")(x)
    x = norm_act(conv(x, "conv_head", card.config["top"], card), "norm_head", "act2", card)
    yield "top", (x := layers.Flatten(name="flatten")(x))
    yield "features", layers.Identity(name="features")(x)
