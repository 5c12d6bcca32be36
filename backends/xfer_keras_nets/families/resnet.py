"""ResNet, ResNeXt and Wide ResNet, torchvision's v1.5; ResNet v1, Keras's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import conv, global_average, max_pool, norm, relu


def resnet(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """He et al. 2015 (arXiv:1512.03385), the stride in the 3x3 convolution; in v1 before it, and biases everywhere."""
    x = relu(norm(conv(x, "conv1", 64, 7, 2, pad=3, bias=is_v1(card)), "bn1", card), "relu")
    yield "stem", (x := max_pool(x, "maxpool", 3, 2, pad=1))
    block = bottleneck if card.config["bottleneck"] else basic
    for layer, repeats in enumerate(card.config["repeats"], 1):
        for i in range(repeats):
            stride = 2 if layer > 1 and i == 0 else 1
            x = block(x, f"layer{layer}.{i}", 64 * 2 ** (layer - 1), stride, card)
        yield f"layer{layer}", x
    yield "features", global_average(x)


def join(x: Any, y: Any, name: str, stride: int, card: Card) -> Any:
    """Shortcut plus residual; the shortcut is projected where the shapes differ."""
    if stride > 1 or x.shape[-1] != y.shape[-1]:
        x = conv(x, f"{name}.downsample.0", y.shape[-1], 1, stride, bias=is_v1(card))
        x = norm(x, f"{name}.downsample.1", card)
    return relu(layers.Add(name=f"{name}.add")([y, x]), f"{name}.relu")


def basic(x: Any, name: str, width: int, stride: int, card: Card, join: Callable[..., Any] = join) -> Any:
    """Two 3x3 convolutions beside a shortcut."""
    y = relu(norm(conv(x, f"{name}.conv1", width, 3, stride, pad=1), f"{name}.bn1", card), f"{name}.relu1")
    y = norm(conv(y, f"{name}.conv2", width, 3, pad=1), f"{name}.bn2", card)
    return join(x, y, name, stride, card)


def bottleneck(x: Any, name: str, width: int, stride: int, card: Card, join: Callable[..., Any] = join) -> Any:
    """1x1 down, 3x3 in groups, 1x1 up to four times the width, beside a shortcut."""
    groups = card.config["groups"]
    inner, v1 = width * card.config["width"] // 64 * groups, is_v1(card)
    y = conv(x, f"{name}.conv1", inner, 1, stride if v1 else 1, bias=v1)
    y = relu(norm(y, f"{name}.bn1", card), f"{name}.relu1")
    y = conv(y, f"{name}.conv2", inner, 3, 1 if v1 else stride, pad=1, groups=groups, bias=v1)
    y = relu(norm(y, f"{name}.bn2", card), f"{name}.relu2")
    y = norm(conv(y, f"{name}.conv3", 4 * width, 1, bias=v1), f"{name}.bn3", card)
    return join(x, y, name, stride, card)


def is_v1(card: Card) -> bool:
    """Whether it is the ResNet of keras.applications."""
    return bool(card.config.get("v1"))
