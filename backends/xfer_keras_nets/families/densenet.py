"""DenseNet, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import conv, global_average, max_pool, norm, relu


def densenet(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Huang et al. 2016 (arXiv:1608.06993): each layer reads all layers before it in its block."""
    x = conv(x, "features.conv0", card.config["stem"], 7, 2, pad=3)
    x = relu(norm(x, "features.norm0", card), "features.relu0")
    yield "stem", (x := max_pool(x, "features.pool0", 3, 2, pad=1))
    for block, repeats in enumerate(card.config["repeats"], 1):
        for i in range(1, repeats + 1):
            x = dense_layer(x, f"features.denseblock{block}.denselayer{i}", card)
        if block < 4:
            x = transition(x, f"features.transition{block}", card)
        else:
            x = norm(x, "features.norm5", card)
        yield f"block{block}", x
    yield "features", global_average(relu(x, "relu"))


def dense_layer(x: Any, name: str, card: Card) -> Any:
    """`growth` new channels from all there are, through a bottleneck of four times as many."""
    growth = card.config["growth"]
    y = conv(relu(norm(x, f"{name}.norm1", card), f"{name}.relu1"), f"{name}.conv1", 4 * growth, 1)
    y = conv(relu(norm(y, f"{name}.norm2", card), f"{name}.relu2"), f"{name}.conv2", growth, 3, pad=1)
    return layers.Concatenate(name=f"{name}.concat")([x, y])


def transition(x: Any, name: str, card: Card) -> Any:
    """Half the channels, half the pixels."""
    x = conv(relu(norm(x, f"{name}.norm", card), f"{name}.relu"), f"{name}.conv", x.shape[-1] // 2, 1)
    return layers.AveragePooling2D(2, name=f"{name}.pool")(x)
