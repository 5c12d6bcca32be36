"""MobileNet, Keras's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xfer.zoo import Card
from xfer_keras_nets.layers import conv, depthwise, global_average, norm, relu6


def mobilenet_v1(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Howard et al. 2017 (arXiv:1704.04861)."""
    x = conv(x, "features.0.0", card.config["stem"], 3, 2, pad="same")
    yield "stem", (x := relu6(norm(x, "features.0.1", card), "features.0.2"))
    for block, names in list(card.blocks.items())[1:]:
        for name in names:
            width, stride = card.config["layers"][int(name.rpartition(".")[2]) - 1]
            x = norm(depthwise(x, f"{name}.0.0", 3, stride, pad="same"), f"{name}.0.1", card)
            x = conv(relu6(x, f"{name}.0.2"), f"{name}.1.0", width, 1)
            x = relu6(norm(x, f"{name}.1.1", card), f"{name}.1.2")
        yield block, x
    yield "features", global_average(x)
