"""DenseNet: Huang et al. 2016, "Densely Connected Convolutional Networks" (arXiv:1608.06993)."""

from __future__ import annotations

import re

from xfer.zoo.card import Card
from xfer.zoo.published import published


def _canonical(name: str) -> str:
    """torchvision's published files have names from before its modules were renamed: `norm.1` for `norm1`."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name)


def _card(
    depth: int, repeats: tuple[int, ...], parameters: int, sha256: str, acc1: float, growth: int = 32, stem: int = 64
) -> Card:
    width = stem
    for i, layers in enumerate(repeats):
        width = width + layers * growth if i == 3 else (width + layers * growth) // 2
    name = f"densenet{depth}"
    return Card(
        name=name,
        family="densenet",
        blocks={
            "stem": ("features.conv0", "features.norm0"),
            **{f"block{i}": (f"features.denseblock{i}", f"features.transition{i}") for i in (1, 2, 3)},
            "block4": ("features.denseblock4", "features.norm5"),
        },
        head="classifier",
        feature_dim=width,
        config={"repeats": repeats, "growth": growth, "stem": stem},
        parameters=parameters,
        rename=_canonical,
        size_smallest=29,
        source="https://arxiv.org/abs/1608.06993",
        **published(("IMAGENET1K_V1", f"{name}-{sha256}", acc1, 256)),
    )


CARDS = (
    _card(121, (6, 12, 24, 16), 7_978_856, "a639ec97", 74.434),
    _card(161, (6, 12, 36, 24), 28_681_000, "8d451a50", 77.138, growth=48, stem=96),
    _card(169, (6, 12, 32, 32), 14_149_480, "b2777c0a", 75.600),
    _card(201, (6, 12, 48, 32), 20_013_928, "c1103571", 76.896),
)
