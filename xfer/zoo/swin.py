"""Swin: Liu et al. 2021 (arXiv:2103.14030), and Swin v2: Liu et al. 2021 (arXiv:2111.09883)."""

from __future__ import annotations

from typing import Any

import numpy as np

from xfer.zoo.card import Card
from xfer.zoo.published import published


def coordinates(window: int) -> np.ndarray:
    """Offsets of two places in a window as Swin v2 scales them, by logarithm: ((2 window - 1)^2, 2), float64."""
    steps = 8 * np.arange(1 - window, window) / (window - 1)
    table = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.asarray(np.sign(table) * np.log2(np.abs(table) + 1) / 3)


def _card(
    name: str,
    width: int,
    depths: tuple[int, ...],
    heads: tuple[int, ...],
    drop: float,
    parameters: int,
    row: tuple[Any, ...],
) -> Card:
    version = 2 if name.startswith("v2") else 1
    return Card(
        name=f"swin_{name}",
        family="swin",
        blocks={
            "stem": ("features.0",),
            "stage1": ("features.1",),
            **{f"stage{i}": (f"features.{2 * i - 2}", f"features.{2 * i - 1}") for i in (2, 3, 4)},
            "norm": ("norm",),
        },
        head="head",
        feature_dim=8 * width,
        config={
            "version": version,
            "width": width,
            "depths": depths,
            "heads": heads,
            "window": 8 if version == 2 else 7,
            "stochastic_depth": drop,
        },
        parameters=parameters,
        source=f"https://arxiv.org/abs/{'2111.09883' if version == 2 else '2103.14030'}",
        **published(("IMAGENET1K_V1", *row)),
    )


_T, _S, _B = (2, 2, 6, 2), (2, 2, 18, 2), (2, 2, 18, 2)
_THIN, _WIDE = (3, 6, 12, 24), (4, 8, 16, 32)

CARDS = (
    _card("t", 96, _T, _THIN, 0.2, 28_288_354, ("swin_t-704ceda3", 81.474, 232, 224, "bicubic")),
    _card("s", 96, _S, _THIN, 0.3, 49_606_258, ("swin_s-5e29d889", 83.196, 246, 224, "bicubic")),
    _card("b", 128, _B, _WIDE, 0.5, 87_768_224, ("swin_b-68c6b09e", 83.582, 238, 224, "bicubic")),
    _card("v2_t", 96, _T, _THIN, 0.2, 28_351_570, ("swin_v2_t-b137f0e2", 82.072, 260, 256, "bicubic")),
    _card("v2_s", 96, _S, _THIN, 0.3, 49_737_442, ("swin_v2_s-637d8ceb", 83.712, 260, 256, "bicubic")),
    _card("v2_b", 128, _B, _WIDE, 0.5, 87_930_848, ("swin_v2_b-781e5279", 84.112, 272, 256, "bicubic")),
)
