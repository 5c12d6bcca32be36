"""AlexNet, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import AdaptiveAveragePooling, conv, flatten, max_pool, relu

# (index in torchvision's `features`, channels, kernel, stride, padding, max-pool after it)
_CONVOLUTIONS = (
    (0, 64, 11, 4, 2, True),
    (3, 192, 5, 1, 2, True),
    (6, 384, 3, 1, 1, False),
    (8, 256, 3, 1, 1, False),
    (10, 256, 3, 1, 1, True),
)


def alexnet(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Krizhevsky 2014 (arXiv:1404.5997)."""
    for block, (index, width, kernel, stride, pad, pool) in enumerate(_CONVOLUTIONS, 1):
        x = relu(conv(x, f"features.{index}", width, kernel, stride, pad=pad, bias=True), f"features.{index + 1}")
        yield f"block{block}", (x := max_pool(x, f"features.{index + 2}", 3, 2) if pool else x)
    x = AdaptiveAveragePooling(6, name="avgpool")(x)
    x = flatten(x)
    for i in (0, 3):
        x = layers.Dense(4096, name=f"classifier.{i + 1}")(layers.Dropout(0.5, name=f"classifier.{i}")(x))
        x = relu(x, f"classifier.{i + 2}")
    yield "classifier", x
    yield "features", layers.Identity(name="features")(x)
