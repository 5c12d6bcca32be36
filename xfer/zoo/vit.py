"""Vision transformer: Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words" (arXiv:2010.11929)."""

from __future__ import annotations

import re
from typing import Any

from xfer.zoo.card import Card
from xfer.zoo.published import published

V1, E2E, LINEAR = "IMAGENET1K_V1", "IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_LINEAR_V1"


def _canonical(name: str) -> str:
    """torchvision's older files name the two layers of an MLP `linear_1` and `linear_2`."""
    return re.sub(r"\.mlp\.linear_([12])\.", lambda found: f".mlp.{0 if found[1] == '1' else 3}.", name)


def _card(
    name: str, patch: int, depth: int, heads: int, width: int, mlp: int, parameters: int, *rows: tuple[Any, ...]
) -> Card:
    return Card(
        name=f"vit_{name}",
        family="vit",
        blocks={
            "stem": ("conv_proj", "class_token", "encoder.pos_embedding"),
            **{f"layer{i}": (f"encoder.layers.encoder_layer_{i}",) for i in range(depth)},
            "norm": ("encoder.ln",),
        },
        head="heads.head",
        feature_dim=width,
        config={"patch": patch, "depth": depth, "heads": heads, "mlp": mlp, "stochastic_depth": 0.0, "dropout": 0.0},
        parameters=parameters,
        norm_eps=1e-6,
        rename=_canonical,
        size_multiple=patch,
        token_block=f"layer{depth - 2}",  # the last layer adds to the class token what it reads in the others
        positions={"encoder.pos_embedding": 1},
        prefix_tokens=1,
        source="https://arxiv.org/abs/2010.11929",
        **published(*rows),
    )


CARDS = (
    _card(
        "b_16",
        16,
        12,
        12,
        768,
        3072,
        86_567_656,
        (V1, "vit_b_16-c867db91", 81.072, 256),
        (E2E, "vit_b_16_swag-9ac1b537", 85.304, 384, 384, "bicubic"),
        (LINEAR, "vit_b_16_lc_swag-4e70ced5", 81.886, 224, 224, "bicubic"),
    ),
    _card("b_32", 32, 12, 12, 768, 3072, 88_224_232, (V1, "vit_b_32-d86f8d99", 75.912, 256)),
    _card(
        "l_16",
        16,
        24,
        16,
        1024,
        4096,
        304_326_632,
        (V1, "vit_l_16-852ce7e3", 79.662, 242),
        (E2E, "vit_l_16_swag-4f3808c9", 88.064, 512, 512, "bicubic"),
        (LINEAR, "vit_l_16_lc_swag-4d563306", 85.146, 224, 224, "bicubic"),
    ),
    _card("l_32", 32, 24, 16, 1024, 4096, 306_535_400, (V1, "vit_l_32-c7638314", 76.972, 256)),
    _card(
        "h_14",
        14,
        32,
        16,
        1280,
        5120,
        633_470_440,
        (E2E, "vit_h_14_swag-80465313", 88.552, 518, 518, "bicubic"),
        (LINEAR, "vit_h_14_lc_swag-c1eb923e", 85.708, 224, 224, "bicubic"),
    ),
)
