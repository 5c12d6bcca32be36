"""MobileNet v3, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import conv_norm, global_average, hard_sigmoid, hard_swish, relu, squeeze_excite


def mobilenet_v3(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Howard et al. 2019 (arXiv:1905.02244); torchvision numbers all layers alike as `features.N`."""
    x = conv_norm(x, "features.0", card.config["stem"], 3, 2, card=card, act=hard_swish)
    for block, names in card.blocks.items():
        if block.startswith("stage"):
            for name in names:
                x = inverted_residual(x, name, card.config["layers"][int(name.rpartition(".")[2]) - 1], card)
        elif block == "top":
            x = conv_norm(x, *names, card.config["top"], 1, card=card, act=hard_swish)
        elif block == "classifier":
            x = layers.Dense(card.feature_dim, name="classifier.0")(global_average(x))
            x = hard_swish(x, "classifier.1")
        yield block, x
    yield "features", layers.Identity(name="features")(x)


def inverted_residual(x: Any, name: str, layer: Any, card: Card) -> Any:
    """Expand, filter each channel, weigh channels by the whole image, project; beside a shortcut if shapes agree."""
    act = {"RE": relu, "HS": hard_swish}[layer.act]
    y, i, hidden = x, 0, layer.expanded
    if hidden != x.shape[-1]:
        y, i = conv_norm(y, f"{name}.block.0", hidden, 1, card=card, act=act), 1
    y = conv_norm(y, f"{name}.block.{i}", hidden, layer.kernel, layer.stride, card=card, act=act, groups=hidden)
    if layer.squeeze:
        i += 1
        y = squeeze_excite(y, f"{name}.block.{i}", layer.squeezed, relu, hard_sigmoid)
    y = conv_norm(y, f"{name}.block.{i + 1}", layer.width, 1, card=card, act=None)
    return layers.Add(name=f"{name}.add")([y, x]) if layer.stride == 1 and x.shape[-1] == layer.width else y
