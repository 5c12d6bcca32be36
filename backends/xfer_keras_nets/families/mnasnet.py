"""MNASNet, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import conv, depthwise, global_average, norm, relu


def mnasnet(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Tan et al. 2018 (arXiv:1807.11626); torchvision numbers all layers alike as `layers.N`."""
    first, second = card.config["stem"]
    x = relu(norm(conv(x, "layers.0", first, 3, 2, pad=1), "layers.1", card), "layers.2")
    x = relu(norm(depthwise(x, "layers.3", 3, 1, pad=1), "layers.4", card), "layers.5")
    yield "stem", (x := norm(conv(x, "layers.6", second, 1), "layers.7", card))
    for stack, (width, kernel, stride, expansion, repeats) in enumerate(card.config["stacks"], 1):
        for i in range(repeats):
            name = f"layers.{7 + stack}.{i}"
            x = inverted_residual(x, name, width, kernel, stride if i == 0 else 1, expansion, card)
        yield f"stack{stack}", x
    yield "top", (x := relu(norm(conv(x, "layers.14", 1280, 1), "layers.15", card), "layers.16"))
    yield "features", global_average(x)


def inverted_residual(x: Any, name: str, width: int, kernel: int, stride: int, expansion: int, card: Card) -> Any:
    """Expand, filter each channel, project without activation; added to the input where shapes agree."""
    y = conv(x, f"{name}.layers.0", expansion * x.shape[-1], 1)
    y = relu(norm(y, f"{name}.layers.1", card), f"{name}.layers.2")
    y = depthwise(y, f"{name}.layers.3", kernel, stride, pad=kernel // 2)
    y = relu(norm(y, f"{name}.layers.4", card), f"{name}.layers.5")
    y = norm(conv(y, f"{name}.layers.6", width, 1), f"{name}.layers.7", card)
    return layers.Add(name=f"{name}.add")([y, x]) if stride == 1 and x.shape[-1] == width else y
