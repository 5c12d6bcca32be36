"""EfficientNet, EfficientNet v2 and EfficientNet-Lite with TensorFlow's padding and timm's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xfer.zoo import Card
from xfer_keras_nets.layers import global_average
from xfer_keras_nets.timm_blocks import conv, norm_act, stages


def tf_efficientnet(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Tan & Le 2019 (arXiv:1905.11946) and 2021 (arXiv:2104.00298)."""
    x = norm_act(conv(x, "conv_stem", card.config["stem"], card, 3, 2), "bn1", "act1", card)
    yield "stem", x
    for stage in stages(x, card):
        yield stage
        x = stage[1]
    yield "top", (x := norm_act(conv(x, "conv_head", card.config["top"], card), "bn2", "act2", card))
    yield "features", global_average(x)
