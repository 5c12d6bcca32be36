"""RegNet: Radosavovic et al. 2020, "Designing Network Design Spaces" (arXiv:2003.13678)."""

from __future__ import annotations

from typing import Any

from xfer.zoo.card import Card
from xfer.zoo.published import published


def _card(
    name: str,
    widths: tuple[int, ...],
    repeats: tuple[int, ...],
    group: int,
    parameters: int,
    *rows: tuple[Any, ...],
) -> Card:
    """`group`: channels of a group in the 3x3 convolutions; RegNet Y is RegNet X with squeeze-and-excitation."""
    return Card(
        name=f"regnet_{name}",
        family="regnet",
        blocks={"stem": ("stem",), **{f"block{i}": (f"trunk_output.block{i}",) for i in (1, 2, 3, 4)}},
        head="fc",
        feature_dim=widths[-1],
        config={"widths": widths, "repeats": repeats, "group": group, "squeeze": name.startswith("y")},
        parameters=parameters,
        source="https://arxiv.org/abs/2003.13678",
        **published(*rows),
    )


CARDS = (
    _card(
        "y_400mf",
        (48, 104, 208, 440),
        (1, 3, 6, 6),
        8,
        4_344_144,
        ("IMAGENET1K_V2", "regnet_y_400mf-e6988f5f", 75.804, 232),
        ("IMAGENET1K_V1", "regnet_y_400mf-c65dace8", 74.046, 256),
    ),
    _card(
        "y_800mf",
        (64, 144, 320, 784),
        (1, 3, 8, 2),
        16,
        6_432_512,
        ("IMAGENET1K_V2", "regnet_y_800mf-58fc7688", 78.828, 232),
        ("IMAGENET1K_V1", "regnet_y_800mf-1b27b58c", 76.420, 256),
    ),
    _card(
        "y_1_6gf",
        (48, 120, 336, 888),
        (2, 6, 17, 2),
        24,
        11_202_430,
        ("IMAGENET1K_V2", "regnet_y_1_6gf-0d7bc02a", 80.876, 232),
        ("IMAGENET1K_V1", "regnet_y_1_6gf-b11a554e", 77.950, 256),
    ),
    _card(
        "y_3_2gf",
        (72, 216, 576, 1512),
        (2, 5, 13, 1),
        24,
        19_436_338,
        ("IMAGENET1K_V2", "regnet_y_3_2gf-9180c971", 81.982, 232),
        ("IMAGENET1K_V1", "regnet_y_3_2gf-b5a9779c", 78.948, 256),
    ),
    _card(
        "y_8gf",
        (224, 448, 896, 2016),
        (2, 4, 10, 1),
        56,
        39_381_472,
        ("IMAGENET1K_V2", "regnet_y_8gf-dc2b1b54", 82.828, 232),
        ("IMAGENET1K_V1", "regnet_y_8gf-d0d0e4a8", 80.032, 256),
    ),
    _card(
        "y_16gf",
        (224, 448, 1232, 3024),
        (2, 4, 11, 1),
        112,
        83_590_140,
        ("IMAGENET1K_V2", "regnet_y_16gf-3e4a00f9", 82.886, 232),
        ("IMAGENET1K_SWAG_E2E_V1", "regnet_y_16gf_swag-43afe44d", 86.012, 384, 384, "bicubic"),
        ("IMAGENET1K_SWAG_LINEAR_V1", "regnet_y_16gf_lc_swag-f3ec0043", 83.976, 224, 224, "bicubic"),
        ("IMAGENET1K_V1", "regnet_y_16gf-9e6ed7dd", 80.424, 256),
    ),
    _card(
        "y_32gf",
        (232, 696, 1392, 3712),
        (2, 5, 12, 1),
        232,
        145_046_770,
        ("IMAGENET1K_V2", "regnet_y_32gf-8db6d4b5", 83.368, 232),
        ("IMAGENET1K_SWAG_E2E_V1", "regnet_y_32gf_swag-04fdfa75", 86.838, 384, 384, "bicubic"),
        ("IMAGENET1K_SWAG_LINEAR_V1", "regnet_y_32gf_lc_swag-e1583746", 84.622, 224, 224, "bicubic"),
        ("IMAGENET1K_V1", "regnet_y_32gf-4dee3f7a", 80.878, 256),
    ),
    _card(
        "y_128gf",
        (528, 1056, 2904, 7392),
        (2, 7, 17, 1),
        264,
        644_812_894,
        ("IMAGENET1K_SWAG_E2E_V1", "regnet_y_128gf_swag-c8ce3e52", 88.228, 384, 384, "bicubic"),
        ("IMAGENET1K_SWAG_LINEAR_V1", "regnet_y_128gf_lc_swag-cbe8ce12", 86.068, 224, 224, "bicubic"),
    ),
    _card(
        "x_400mf",
        (32, 64, 160, 400),
        (1, 2, 7, 12),
        16,
        5_495_976,
        ("IMAGENET1K_V2", "regnet_x_400mf-62229a5f", 74.864, 232),
        ("IMAGENET1K_V1", "regnet_x_400mf-adf1edd5", 72.834, 256),
    ),
    _card(
        "x_800mf",
        (64, 128, 288, 672),
        (1, 3, 7, 5),
        16,
        7_259_656,
        ("IMAGENET1K_V2", "regnet_x_800mf-94a99ebd", 77.522, 232),
        ("IMAGENET1K_V1", "regnet_x_800mf-ad17e45c", 75.212, 256),
    ),
    _card(
        "x_1_6gf",
        (72, 168, 408, 912),
        (2, 4, 10, 2),
        24,
        9_190_136,
        ("IMAGENET1K_V2", "regnet_x_1_6gf-a12f2b72", 79.668, 232),
        ("IMAGENET1K_V1", "regnet_x_1_6gf-e3633e7f", 77.040, 256),
    ),
    _card(
        "x_3_2gf",
        (96, 192, 432, 1008),
        (2, 6, 15, 2),
        48,
        15_296_552,
        ("IMAGENET1K_V2", "regnet_x_3_2gf-7071aa85", 81.196, 232),
        ("IMAGENET1K_V1", "regnet_x_3_2gf-f342aeae", 78.364, 256),
    ),
    _card(
        "x_8gf",
        (80, 240, 720, 1920),
        (2, 5, 15, 1),
        120,
        39_572_648,
        ("IMAGENET1K_V2", "regnet_x_8gf-2b70d774", 81.682, 232),
        ("IMAGENET1K_V1", "regnet_x_8gf-03ceed89", 79.344, 256),
    ),
    _card(
        "x_16gf",
        (256, 512, 896, 2048),
        (2, 6, 13, 1),
        128,
        54_278_536,
        ("IMAGENET1K_V2", "regnet_x_16gf-ba3796d7", 82.716, 232),
        ("IMAGENET1K_V1", "regnet_x_16gf-2007eb11", 80.058, 256),
    ),
    _card(
        "x_32gf",
        (336, 672, 1344, 2520),
        (2, 7, 13, 1),
        168,
        107_811_560,
        ("IMAGENET1K_V2", "regnet_x_32gf-6eb8fdc6", 83.014, 232),
        ("IMAGENET1K_V1", "regnet_x_32gf-9d47f8d0", 80.622, 256),
    ),
)
