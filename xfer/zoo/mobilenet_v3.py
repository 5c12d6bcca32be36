"""MobileNet v3: Howard et al. 2019, "Searching for MobileNetV3" (arXiv:1905.02244)."""

from __future__ import annotations

from typing import Any, NamedTuple

from xfer.zoo.card import Card
from xfer.zoo.published import published
from xfer.zoo.rounding import multiple_of_8


class Layer(NamedTuple):
    """An inverted residual: with or without squeeze-and-excitation, ReLU ("RE") or hard swish ("HS")."""

    kernel: int
    expanded: int
    width: int
    squeeze: bool
    act: str
    stride: int

    @property
    def squeezed(self) -> int:
        """Width inside squeeze-and-excitation."""
        return multiple_of_8(self.expanded // 4)


_LARGE = (
    Layer(3, 16, 16, False, "RE", 1),
    Layer(3, 64, 24, False, "RE", 2),
    Layer(3, 72, 24, False, "RE", 1),
    Layer(5, 72, 40, True, "RE", 2),
    Layer(5, 120, 40, True, "RE", 1),
    Layer(5, 120, 40, True, "RE", 1),
    Layer(3, 240, 80, False, "HS", 2),
    Layer(3, 200, 80, False, "HS", 1),
    Layer(3, 184, 80, False, "HS", 1),
    Layer(3, 184, 80, False, "HS", 1),
    Layer(3, 480, 112, True, "HS", 1),
    Layer(3, 672, 112, True, "HS", 1),
    Layer(5, 672, 160, True, "HS", 2),
    Layer(5, 960, 160, True, "HS", 1),
    Layer(5, 960, 160, True, "HS", 1),
)
_SMALL = (
    Layer(3, 16, 16, True, "RE", 2),
    Layer(3, 72, 24, False, "RE", 2),
    Layer(3, 88, 24, False, "RE", 1),
    Layer(5, 96, 40, True, "HS", 2),
    Layer(5, 240, 40, True, "HS", 1),
    Layer(5, 240, 40, True, "HS", 1),
    Layer(5, 120, 48, True, "HS", 1),
    Layer(5, 144, 48, True, "HS", 1),
    Layer(5, 288, 96, True, "HS", 2),
    Layer(5, 576, 96, True, "HS", 1),
    Layer(5, 576, 96, True, "HS", 1),
)


def _blocks(layers: tuple[Layer, ...]) -> dict[str, tuple[str, ...]]:
    """A stage begins where the resolution halves; torchvision numbers all layers alike as `features.N`."""
    blocks: dict[str, tuple[str, ...]] = {"stem": ("features.0",)}
    for index, layer in enumerate(layers, 1):
        if layer.stride == 2 or index == 1:
            blocks[f"stage{len(blocks)}"] = ()
        blocks[list(blocks)[-1]] += (f"features.{index}",)
    return blocks | {"top": (f"features.{len(layers) + 1}",), "classifier": ("classifier.0",)}


def _card(name: str, layers: tuple[Layer, ...], feature_dim: int, parameters: int, *rows: tuple[Any, ...]) -> Card:
    return Card(
        name=name,
        family="mobilenet_v3",
        blocks=_blocks(layers),
        head="classifier.3",
        feature_dim=feature_dim,
        config={"layers": layers, "stem": 16, "top": 6 * layers[-1].width},
        parameters=parameters,
        norm_eps=1e-3,
        norm_momentum=0.01,
        source="https://arxiv.org/abs/1905.02244",
        **published(*rows),
    )


CARDS = (
    _card(
        "mobilenet_v3_large",
        _LARGE,
        1280,
        5_483_032,
        ("IMAGENET1K_V2", "mobilenet_v3_large-5c1a4163", 75.274, 232),
        ("IMAGENET1K_V1", "mobilenet_v3_large-8738ca79", 74.042, 256),
    ),
    _card(
        "mobilenet_v3_small",
        _SMALL,
        1024,
        2_542_856,
        ("IMAGENET1K_V1", "mobilenet_v3_small-047dcff4", 67.668, 256),
    ),
)
