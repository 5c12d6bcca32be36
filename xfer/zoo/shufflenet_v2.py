"""ShuffleNet v2: Ma et al. 2018, "Practical Guidelines for Efficient CNN Architecture Design" (arXiv:1807.11164)."""

from __future__ import annotations

from typing import Any

from xfer.zoo.card import Card
from xfer.zoo.published import published


def _card(scale: str, widths: tuple[int, int, int], top: int, parameters: int, row: tuple[Any, ...]) -> Card:
    return Card(
        name=f"shufflenet_v2_{scale}",
        family="shufflenet_v2",
        blocks={"stem": ("conv1",), **{f"stage{i}": (f"stage{i}",) for i in (2, 3, 4)}, "top": ("conv5",)},
        head="fc",
        feature_dim=top,
        config={"widths": widths, "repeats": (4, 8, 4), "stem": 24, "top": top},
        parameters=parameters,
        source="https://arxiv.org/abs/1807.11164",
        **published(("IMAGENET1K_V1", *row)),
    )


CARDS = (
    _card("x0_5", (48, 96, 192), 1024, 1_366_792, ("shufflenetv2_x0.5-f707e7126e", 60.552, 256)),
    _card("x1_0", (116, 232, 464), 1024, 2_278_604, ("shufflenetv2_x1-5666bf0f80", 69.362, 256)),
    _card("x1_5", (176, 352, 704), 1024, 3_503_624, ("shufflenetv2_x1_5-3c479a10", 72.996, 232)),
    _card("x2_0", (244, 488, 976), 2048, 7_393_996, ("shufflenetv2_x2_0-8be3c8ee", 76.230, 232)),
)
