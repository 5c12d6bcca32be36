"""VGG, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import AdaptiveAveragePooling, conv, flatten, max_pool, norm, relu


def vgg(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Simonyan & Zisserman 2014 (arXiv:1409.1556); torchvision numbers all layers alike as `features.N`."""
    index = 0
    for block, repeats in enumerate(card.config["repeats"], 1):
        for _ in range(repeats):
            x = conv(x, f"features.{index}", min(64 * 2 ** (block - 1), 512), 3, pad=1, bias=True)
            if card.config["norm"]:
                index += 1
                x = norm(x, f"features.{index}", card)
            x = relu(x, f"features.{index + 1}")
            index += 2
        yield f"block{block}", (x := max_pool(x, f"features.{index}", 2, 2))
        index += 1
    x = flatten(AdaptiveAveragePooling(7, name="avgpool")(x))
    for i in (0, 3):
        x = relu(layers.Dense(4096, name=f"classifier.{i}")(x), f"classifier.{i + 1}")
        x = layers.Dropout(0.5, name=f"classifier.{i + 2}")(x)
    yield "classifier", x
    yield "features", layers.Identity(name="features")(x)
