"""ResNet-D and ResNet-RS with timm's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.families.resnet import basic, bottleneck
from xfer_keras_nets.layers import average_pool, conv, global_average, max_pool, norm, relu, sigmoid, squeeze_excite


def resnet_d(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """He et al. 2018 (arXiv:1812.01187) and Bello et al. 2021 (arXiv:2103.07579)."""
    yield "stem", (x := stem(x, card))
    block = bottleneck if card.config["bottleneck"] else basic
    for layer, repeats in enumerate(card.config["repeats"], 1):
        for i in range(repeats):
            stride = 2 if layer > 1 and i == 0 else 1
            x = block(x, f"layer{layer}.{i}", 64 * 2 ** (layer - 1), stride, card, join)
        yield f"layer{layer}", x
    yield "features", global_average(x)


def stem(x: Any, card: Card) -> Any:
    """Three convolutions, and max-pooling or another convolution."""
    width = card.config["stem"]
    x = relu(norm(conv(x, "conv1.0", width, 3, 2, pad=1), "conv1.1", card), "conv1.2")
    x = relu(norm(conv(x, "conv1.3", width, 3, pad=1), "conv1.4", card), "conv1.5")
    x = relu(norm(conv(x, "conv1.6", 64, 3, pad=1), "bn1", card), "relu")
    if not card.config["convolved"]:
        return max_pool(x, "maxpool", 3, 2, pad=1)
    return relu(norm(conv(x, "maxpool.0", 64, 3, 2, pad=1), "maxpool.1", card), "maxpool.2")


def join(x: Any, y: Any, name: str, stride: int, card: Card) -> Any:
    """Shortcut plus residual; the shortcut averages where it strides, and is projected where the shapes differ."""
    width = y.shape[-1]
    if card.config["squeeze"]:
        y = squeeze_excite(y, f"{name}.se", width // 4, relu, sigmoid)
    if stride > 1:
        x = average_pool(x, f"{name}.downsample.0", 2, stride, "same")
    if x.shape[-1] != width or stride > 1:
        x = norm(conv(x, f"{name}.downsample.1", width, 1), f"{name}.downsample.2", card)
    return relu(layers.Add(name=f"{name}.add")([y, x]), f"{name}.relu")
