"""The network of `xfer.zoo.tiny`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import conv, global_average, norm, relu


def tiny(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Two 3x3 convolutions of stride 2 with batch norm and ReLU, global average pooling.

    With `hidden` in the configuration, a linear layer of that width and ReLU before the head.
    """
    first, second = card.config["widths"]
    yield "stem", (x := relu(norm(conv(x, "conv1", first, 3, 2, pad=1), "bn1", card), "relu"))
    x = norm(conv(x, "layer1.conv", second, 3, 2, pad=1), "layer1.bn", card)
    yield "layer1", (x := relu(x, "layer1.relu"))
    x = global_average(x)
    if hidden := card.config.get("hidden"):
        yield "mlp", (x := relu(layers.Dense(hidden, name="mlp")(x), "mlp.relu"))
        x = layers.Identity(name="features")(x)
    yield "features", x
