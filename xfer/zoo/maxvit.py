"""MaxViT: Tu et al. 2022, "MaxViT: Multi-Axis Vision Transformer" (arXiv:2204.01697)."""

from __future__ import annotations

from xfer.zoo.card import Card
from xfer.zoo.published import published

SIDE = 7  # places of a window's side in the published weights


def partition(size: int) -> int:
    """Places a side of a window: those of the published weights where the image divides by them, else the last map's.

    Args:
        size: of the input in pixels, a multiple of 32.
    """
    return SIDE if size % (32 * SIDE) == 0 else size // 32


CARDS = (
    Card(
        name="maxvit_t",
        family="maxvit",
        blocks={
            "stem": ("stem",),
            **{f"block{i}": (f"blocks.{i - 1}",) for i in (1, 2, 3, 4)},
            "classifier": ("classifier.2", "classifier.3"),
        },
        head="classifier.5",
        feature_dim=512,
        config={
            "stem": 64,
            "widths": (64, 128, 256, 512),
            "repeats": (2, 2, 5, 2),
            "head_width": 32,
            "stochastic_depth": 0.2,
        },
        parameters=30_919_624,
        norm_eps=1e-3,
        norm_momentum=0.01,
        head_bias=False,
        windows=True,
        size_multiple=32,
        source="https://arxiv.org/abs/2204.01697",
        **published(("IMAGENET1K_V1", "maxvit_t-bc5ab103", 83.700, 224, 224, "bicubic")),
    ),
)
