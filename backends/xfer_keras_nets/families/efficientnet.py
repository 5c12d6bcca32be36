"""EfficientNet and EfficientNet v2, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import conv_norm, global_average, sigmoid, silu, squeeze_excite, stochastic_depth


def efficientnet(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Tan & Le 2019 (arXiv:1905.11946) and 2021 (arXiv:2104.00298)."""
    stages = card.config["stages"]
    yield "stem", (x := conv_norm(x, "features.0", card.config["stem"], 3, 2, card=card, act=silu))
    done, depth = 0, sum(stage.repeats for stage in stages)
    for index, stage in enumerate(stages, 1):
        block = {"mbconv": mbconv, "fused": fused}[stage.kind]
        for i in range(stage.repeats):
            drop = card.config["stochastic_depth"] * done / depth
            x = block(x, f"features.{index}.{i}", stage, stage.stride if i == 0 else 1, drop, card)
            done += 1
        yield f"stage{index}", x
    yield "top", (x := conv_norm(x, f"features.{len(stages) + 1}", card.config["top"], 1, card=card, act=silu))
    yield "features", global_average(x)


def mbconv(x: Any, name: str, stage: Any, stride: int, drop: float, card: Card) -> Any:
    """Expand, filter each channel, weigh channels by the whole image, project."""
    hidden, y, i = x.shape[-1] * stage.expansion, x, 0
    if stage.expansion > 1:
        y, i = conv_norm(y, f"{name}.block.0", hidden, 1, card=card, act=silu), 1
    y = conv_norm(y, f"{name}.block.{i}", hidden, stage.kernel, stride, card=card, act=silu, groups=hidden)
    y = squeeze_excite(y, f"{name}.block.{i + 1}", max(1, x.shape[-1] // 4), silu, sigmoid)
    y = conv_norm(y, f"{name}.block.{i + 2}", stage.width, 1, card=card, act=None)
    return join(x, y, name, drop)


def fused(x: Any, name: str, stage: Any, stride: int, drop: float, card: Card) -> Any:
    """Expand and filter in one dense convolution, project."""
    if stage.expansion == 1:
        y = conv_norm(x, f"{name}.block.0", stage.width, stage.kernel, stride, card=card, act=silu)
        return join(x, y, name, drop)
    hidden = x.shape[-1] * stage.expansion
    y = conv_norm(x, f"{name}.block.0", hidden, stage.kernel, stride, card=card, act=silu)
    y = conv_norm(y, f"{name}.block.1", stage.width, 1, card=card, act=None)
    return join(x, y, name, drop)


def join(x: Any, y: Any, name: str, drop: float) -> Any:
    """The residual added to the input where shapes agree."""
    return layers.Add(name=f"{name}.add")([stochastic_depth(y, name, drop), x]) if x.shape == y.shape else y
