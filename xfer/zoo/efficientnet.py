"""EfficientNet: Tan & Le 2019 (arXiv:1905.11946), and EfficientNet v2: Tan & Le 2021 (arXiv:2104.00298)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from xfer.zoo.card import Card
from xfer.zoo.published import published
from xfer.zoo.rounding import multiple_of_8


class Stage(NamedTuple):
    """Inverted residuals; "fused" has one dense convolution where "mbconv" has an expansion and a depthwise."""

    kind: str
    expansion: int
    kernel: int
    stride: int
    width: int
    repeats: int


_B0 = (
    Stage("mbconv", 1, 3, 1, 16, 1),
    Stage("mbconv", 6, 3, 2, 24, 2),
    Stage("mbconv", 6, 5, 2, 40, 2),
    Stage("mbconv", 6, 3, 2, 80, 3),
    Stage("mbconv", 6, 5, 1, 112, 3),
    Stage("mbconv", 6, 5, 2, 192, 4),
    Stage("mbconv", 6, 3, 1, 320, 1),
)
_V2_S = (
    Stage("fused", 1, 3, 1, 24, 2),
    Stage("fused", 4, 3, 2, 48, 4),
    Stage("fused", 4, 3, 2, 64, 4),
    Stage("mbconv", 4, 3, 2, 128, 6),
    Stage("mbconv", 6, 3, 1, 160, 9),
    Stage("mbconv", 6, 3, 2, 256, 15),
)
_V2_M = (
    Stage("fused", 1, 3, 1, 24, 3),
    Stage("fused", 4, 3, 2, 48, 5),
    Stage("fused", 4, 3, 2, 80, 5),
    Stage("mbconv", 4, 3, 2, 160, 7),
    Stage("mbconv", 6, 3, 1, 176, 14),
    Stage("mbconv", 6, 3, 2, 304, 18),
    Stage("mbconv", 6, 3, 1, 512, 5),
)
_V2_L = (
    Stage("fused", 1, 3, 1, 32, 4),
    Stage("fused", 4, 3, 2, 64, 7),
    Stage("fused", 4, 3, 2, 96, 7),
    Stage("mbconv", 4, 3, 2, 192, 10),
    Stage("mbconv", 6, 3, 1, 224, 19),
    Stage("mbconv", 6, 3, 2, 384, 25),
    Stage("mbconv", 6, 3, 1, 640, 7),
)
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
V1, V2 = "IMAGENET1K_V1", "IMAGENET1K_V2"


def _scaled(width: float, depth: float) -> tuple[Stage, ...]:
    return tuple(s._replace(width=multiple_of_8(s.width * width), repeats=math.ceil(s.repeats * depth)) for s in _B0)


def _card(
    name: str,
    stages: tuple[Stage, ...],
    stem: int,
    top: int,
    parameters: int,
    *rows: tuple[Any, ...],
    norm: tuple[float, float] = (1e-5, 0.1),
    **normalisation: Any,
) -> Card:
    return Card(
        name=name,
        family="efficientnet",
        blocks={
            "stem": ("features.0",),
            **{f"stage{i}": (f"features.{i}",) for i in range(1, len(stages) + 1)},
            "top": (f"features.{len(stages) + 1}",),
        },
        head="classifier.1",
        feature_dim=top,
        config={"stages": stages, "stem": stem, "top": top, "stochastic_depth": 0.2},
        parameters=parameters,
        norm_eps=norm[0],
        norm_momentum=norm[1],
        source=f"https://arxiv.org/abs/{'2104.00298' if 'v2' in name else '1905.11946'}",
        **published(*rows, **normalisation),
    )


def _b(number: int, width: float, depth: float, parameters: int, *rows: tuple[Any, ...]) -> Card:
    """B0 made wider and deeper; B5 to B7 keep the batch norm constants of the TensorFlow weights."""
    norm = (1e-3, 0.01) if number >= 5 else (1e-5, 0.1)
    stages = _scaled(width, depth)
    stem, top = multiple_of_8(32 * width), 4 * stages[-1].width
    return _card(f"efficientnet_b{number}", stages, stem, top, parameters, *rows, norm=norm)


CARDS = (
    _b(0, 1.0, 1.0, 5_288_548, (V1, "efficientnet_b0_rwightman-7f5810bc", 77.692, 256, 224, "bicubic")),
    _b(
        1,
        1.0,
        1.1,
        7_794_184,
        (V2, "efficientnet_b1-c27df63c", 79.838, 255, 240),
        (V1, "efficientnet_b1_rwightman-bac287d4", 78.642, 256, 240, "bicubic"),
    ),
    _b(2, 1.1, 1.2, 9_109_994, (V1, "efficientnet_b2_rwightman-c35c1473", 80.608, 288, 288, "bicubic")),
    _b(3, 1.2, 1.4, 12_233_232, (V1, "efficientnet_b3_rwightman-b3899882", 82.008, 320, 300, "bicubic")),
    _b(4, 1.4, 1.8, 19_341_616, (V1, "efficientnet_b4_rwightman-23ab8bcd", 83.384, 384, 380, "bicubic")),
    _b(5, 1.6, 2.2, 30_389_784, (V1, "efficientnet_b5_lukemelas-1a07897c", 83.444, 456, 456, "bicubic")),
    _b(6, 1.8, 2.6, 43_040_704, (V1, "efficientnet_b6_lukemelas-24a108a5", 84.008, 528, 528, "bicubic")),
    _b(7, 2.0, 3.1, 66_347_960, (V1, "efficientnet_b7_lukemelas-c5b4e57e", 84.122, 600, 600, "bicubic")),
    _card(
        "efficientnet_v2_s",
        _V2_S,
        24,
        1280,
        21_458_488,
        (V1, "efficientnet_v2_s-dd5fe13b", 84.228, 384, 384),
        norm=(1e-3, 0.1),
    ),
    _card(
        "efficientnet_v2_m",
        _V2_M,
        24,
        1280,
        54_139_356,
        (V1, "efficientnet_v2_m-dc08266a", 85.112, 480, 480),
        norm=(1e-3, 0.1),
    ),
    _card(
        "efficientnet_v2_l",
        _V2_L,
        32,
        1280,
        118_515_272,
        (V1, "efficientnet_v2_l-59c71312", 85.808, 480, 480, "bicubic"),
        norm=(1e-3, 0.1),
        **_HALF,
    ),
)
