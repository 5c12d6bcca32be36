"""GoogLeNet, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import AdaptiveAveragePooling, basic_conv, flatten, global_average, max_pool, relu


def googlenet(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Szegedy et al. 2014 (arXiv:1409.4842)."""

    def inception(x: Any, name: str) -> Any:
        return module(x, f"inception{name}", *card.config["modules"][name], card)

    x = basic_conv(x, "conv1", 64, 7, 2, pad=3, card=card)
    x = basic_conv(max_pool(x, "maxpool1", 3, 2, ceil=True), "conv2", 64, 1, card=card)
    x = max_pool(basic_conv(x, "conv3", 192, 3, pad=1, card=card), "maxpool2", 3, 2, ceil=True)
    yield "stem", x
    x = inception(inception(x, "3a"), "3b")
    yield "inception3", (x := max_pool(x, "maxpool3", 3, 2, ceil=True))
    yield "inception4a", (x := inception(x, "4a"))
    yield "aux1", auxiliary(x, "aux1", card)
    yield "inception4d", (x := inception(inception(inception(x, "4b"), "4c"), "4d"))
    yield "aux2", auxiliary(x, "aux2", card)
    yield "inception4e", (x := max_pool(inception(x, "4e"), "maxpool4", 2, 2, ceil=True))
    yield "inception5", (x := inception(inception(x, "5a"), "5b"))
    yield "features", global_average(x)


def module(x: Any, name: str, one: int, to3: int, three: int, to5: int, five: int, pooled: int, card: Card) -> Any:
    """Filters of several sizes side by side; torchvision's "5x5" is a 3x3, as in the weights that it began with."""
    branches = [
        basic_conv(x, f"{name}.branch1", one, 1, card=card),
        basic_conv(
            basic_conv(x, f"{name}.branch2.0", to3, 1, card=card), f"{name}.branch2.1", three, 3, pad=1, card=card
        ),
        basic_conv(
            basic_conv(x, f"{name}.branch3.0", to5, 1, card=card), f"{name}.branch3.1", five, 3, pad=1, card=card
        ),
        basic_conv(max_pool(x, f"{name}.branch4.0", 3, 1, pad=1), f"{name}.branch4.1", pooled, 1, card=card),
    ]
    return layers.Concatenate(name=name)(branches)


def auxiliary(x: Any, name: str, card: Card) -> Any:
    """Features (N, 1024) for a second classifier."""
    x = basic_conv(AdaptiveAveragePooling(4, name=f"{name}.pool")(x), f"{name}.conv", 128, 1, card=card)
    x = relu(layers.Dense(1024, name=f"{name}.fc1")(flatten(x, name)), f"{name}.relu")
    return layers.Dropout(0.7, name=f"{name}.dropout")(x)
