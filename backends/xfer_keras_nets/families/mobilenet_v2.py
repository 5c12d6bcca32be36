"""MobileNet v2, torchvision's; and Keras's, which pads as TensorFlow does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import conv, depthwise, global_average, norm, relu6


def mobilenet_v2(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Sandler et al. 2018 (arXiv:1801.04381); torchvision numbers all layers alike as `features.N`."""
    x = conv(x, "features.0.0", card.config["stem"], 3, 2, pad=card.config["pad"])
    yield "stem", (x := relu6(norm(x, "features.0.1", card), "features.0.2"))
    index = 1
    for stage, (expansion, width, repeats, stride) in enumerate(card.config["stages"], 1):
        for i in range(repeats):
            x = inverted_residual(x, f"features.{index}", width, expansion, stride if i == 0 else 1, card)
            index += 1
        yield f"stage{stage}", x
    name = f"features.{index}"
    x = norm(conv(x, f"{name}.0", card.config["top"], 1), f"{name}.1", card)
    yield "top", (x := relu6(x, f"{name}.2"))
    yield "features", global_average(x)


def inverted_residual(x: Any, name: str, width: int, expansion: int, stride: int, card: Card) -> Any:
    """Expand, filter each channel, project without activation; added to the input where shapes agree."""
    y, i = x, 0
    if expansion > 1:
        y = conv(y, f"{name}.conv.0.0", expansion * x.shape[-1], 1)
        y, i = relu6(norm(y, f"{name}.conv.0.1", card), f"{name}.conv.0.2"), 1
    y = depthwise(y, f"{name}.conv.{i}.0", 3, stride, pad=card.config["pad"])
    y = relu6(norm(y, f"{name}.conv.{i}.1", card), f"{name}.conv.{i}.2")
    y = norm(conv(y, f"{name}.conv.{i + 1}", width, 1), f"{name}.conv.{i + 2}", card)
    return layers.Add(name=f"{name}.add")([y, x]) if stride == 1 and x.shape[-1] == width else y
