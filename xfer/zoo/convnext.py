"""ConvNeXt: Liu et al. 2022, "A ConvNet for the 2020s" (arXiv:2201.03545)."""

from __future__ import annotations

from typing import Any

from xfer.zoo.card import Card
from xfer.zoo.published import published


def _card(size: str, repeats: tuple[int, ...], width: int, drop: float, parameters: int, row: tuple[Any, ...]) -> Card:
    return Card(
        name=f"convnext_{size}",
        family="convnext",
        blocks={
            "stem": ("features.0",),
            "stage1": ("features.1",),
            **{f"stage{i}": (f"features.{2 * i - 2}", f"features.{2 * i - 1}") for i in (2, 3, 4)},
            "norm": ("classifier.0",),
        },
        head="classifier.2",
        feature_dim=8 * width,
        config={"repeats": repeats, "width": width, "stochastic_depth": drop},
        parameters=parameters,
        norm_eps=1e-6,
        size_smallest=32,
        source="https://arxiv.org/abs/2201.03545",
        **published(("IMAGENET1K_V1", *row)),
    )


CARDS = (
    _card("tiny", (3, 3, 9, 3), 96, 0.1, 28_589_128, ("convnext_tiny-983f1562", 82.520, 236)),
    _card("small", (3, 3, 27, 3), 96, 0.4, 50_223_688, ("convnext_small-0c510722", 83.616, 230)),
    _card("base", (3, 3, 27, 3), 128, 0.5, 88_591_464, ("convnext_base-6075fbad", 84.062, 232)),
    _card("large", (3, 3, 27, 3), 192, 0.5, 197_767_336, ("convnext_large-ea097f82", 84.414, 232)),
)
