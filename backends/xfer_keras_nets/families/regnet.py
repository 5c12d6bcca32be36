"""RegNet, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import conv_norm, global_average, relu, sigmoid, squeeze_excite


def regnet(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Radosavovic et al. 2020 (arXiv:2003.13678); every block begins with a stride of 2."""
    yield "stem", (x := conv_norm(x, "stem", 32, 3, 2, card=card, act=relu))
    for index, (width, repeats) in enumerate(zip(card.config["widths"], card.config["repeats"], strict=True), 1):
        for i in range(repeats):
            x = bottleneck(x, f"trunk_output.block{index}.block{index}-{i}", width, 2 if i == 0 else 1, card)
        yield f"block{index}", x
    yield "features", global_average(x)


def bottleneck(x: Any, name: str, width: int, stride: int, card: Card) -> Any:
    """1x1, 3x3 in groups, in RegNet Y squeeze-and-excitation, 1x1; beside a shortcut."""
    groups = max(width // card.config["group"], 1)
    y = conv_norm(x, f"{name}.f.a", width, 1, card=card, act=relu)
    y = conv_norm(y, f"{name}.f.b", width, 3, stride, card=card, act=relu, groups=groups)
    if card.config["squeeze"]:
        y = squeeze_excite(y, f"{name}.f.se", round(x.shape[-1] / 4), relu, sigmoid)
    y = conv_norm(y, f"{name}.f.c", width, 1, card=card, act=None)
    if stride > 1 or x.shape[-1] != width:
        x = conv_norm(x, f"{name}.proj", width, 1, stride, card=card, act=None)
    return relu(layers.Add(name=f"{name}.add")([x, y]), f"{name}.activation")
