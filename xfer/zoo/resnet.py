"""ResNet, ResNeXt and Wide ResNet: one architecture with groups and widths, torchvision's v1.5.

He et al. 2015 (arXiv:1512.03385), Xie et al. 2016 (arXiv:1611.05431), Zagoruyko & Komodakis 2016 (arXiv:1605.07146).
"""

from __future__ import annotations

from typing import Any

from xfer.zoo.card import Card
from xfer.zoo.published import published

_BLOCKS = {
    "stem": ("conv1", "bn1"),
    "layer1": ("layer1",),
    "layer2": ("layer2",),
    "layer3": ("layer3",),
    "layer4": ("layer4",),
}
_18, _50, _101, _152 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)
V1, V2 = "IMAGENET1K_V1", "IMAGENET1K_V2"


def _card(name: str, repeats: tuple[int, ...], parameters: int, *rows: tuple[Any, ...], **config: Any) -> Card:
    """`config`: `bottleneck`, `groups` of the 3x3 convolution, and `width` of a group in the first layer."""
    config = {"bottleneck": True, "groups": 1, "width": 64, **config, "repeats": repeats}
    source = "1611.05431" if config["groups"] > 1 else "1605.07146" if config["width"] > 64 else "1512.03385"
    return Card(
        name=name,
        family="resnet",
        blocks=_BLOCKS,
        head="fc",
        feature_dim=2048 if config["bottleneck"] else 512,
        config=config,
        parameters=parameters,
        source=f"https://arxiv.org/abs/{source}",
        **published(*rows),
    )


CARDS = (
    _card("resnet18", _18, 11_689_512, (V1, "resnet18-f37072fd", 69.758, 256), bottleneck=False),
    _card("resnet34", _50, 21_797_672, (V1, "resnet34-b627a593", 73.314, 256), bottleneck=False),
    _card(
        "resnet50",
        _50,
        25_557_032,
        (V2, "resnet50-11ad3fa6", 80.858, 232),
        (V1, "resnet50-0676ba61", 76.130, 256),
    ),
    _card(
        "resnet101",
        _101,
        44_549_160,
        (V2, "resnet101-cd907fc2", 81.886, 232),
        (V1, "resnet101-63fe2227", 77.374, 256),
    ),
    _card(
        "resnet152",
        _152,
        60_192_808,
        (V2, "resnet152-f82ba261", 82.284, 232),
        (V1, "resnet152-394f9c45", 78.312, 256),
    ),
    _card(
        "resnext50_32x4d",
        _50,
        25_028_904,
        (V2, "resnext50_32x4d-1a0047aa", 81.198, 232),
        (V1, "resnext50_32x4d-7cdf4587", 77.618, 256),
        groups=32,
        width=4,
    ),
    _card(
        "resnext101_32x8d",
        _101,
        88_791_336,
        (V2, "resnext101_32x8d-110c445d", 82.834, 232),
        (V1, "resnext101_32x8d-8ba56ff5", 79.312, 256),
        groups=32,
        width=8,
    ),
    _card(
        "resnext101_64x4d",
        _101,
        83_455_272,
        (V1, "resnext101_64x4d-173b62eb", 83.246, 232),
        groups=64,
        width=4,
    ),
    _card(
        "wide_resnet50_2",
        _50,
        68_883_240,
        (V2, "wide_resnet50_2-9ba9bcbe", 81.602, 232),
        (V1, "wide_resnet50_2-95faca4d", 78.468, 256),
        width=128,
    ),
    _card(
        "wide_resnet101_2",
        _101,
        126_886_696,
        (V2, "wide_resnet101_2-d733dc28", 82.510, 232),
        (V1, "wide_resnet101_2-32ee1156", 78.848, 256),
        width=128,
    ),
)
