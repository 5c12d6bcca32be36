"""ResNet: He et al. 2015, "Deep Residual Learning for Image Recognition" (arXiv:1512.03385), torchvision's v1.5."""

from __future__ import annotations

from xfer.numerics import Preprocessing
from xfer.weights.entry import WeightsEntry
from xfer.zoo.card import Card

_V1 = Preprocessing(size=224, resize=256)
_V2 = Preprocessing(size=224, resize=232)
_BLOCKS = {
    "stem": ("conv1", "bn1"),
    "layer1": ("layer1",),
    "layer2": ("layer2",),
    "layer3": ("layer3",),
    "layer4": ("layer4",),
}


def _card(
    depth: int, repeats: tuple[int, ...], parameters: int, v1: tuple[str, float], v2: tuple[str, float] | None = None
) -> Card:
    bottleneck = depth >= 50
    published = [("IMAGENET1K_V2", v2), ("IMAGENET1K_V1", v1)]
    return Card(
        name=f"resnet{depth}",
        family="resnet",
        blocks=_BLOCKS,
        head="fc",
        feature_dim=2048 if bottleneck else 512,
        preprocessing=_V2 if v2 else _V1,
        variants={"IMAGENET1K_V1": _V1},
        weights=tuple(WeightsEntry.torchvision(entry, f"resnet{depth}", *found) for entry, found in published if found),
        config={"repeats": repeats, "bottleneck": bottleneck},
        parameters=parameters,
        source="https://arxiv.org/abs/1512.03385",
    )


CARDS = (
    _card(18, (2, 2, 2, 2), 11_689_512, ("f37072fd", 69.758)),
    _card(34, (3, 4, 6, 3), 21_797_672, ("b627a593", 73.314)),
    _card(50, (3, 4, 6, 3), 25_557_032, ("0676ba61", 76.130), ("11ad3fa6", 80.858)),
    _card(101, (3, 4, 23, 3), 44_549_160, ("63fe2227", 77.374), ("cd907fc2", 81.886)),
    _card(152, (3, 8, 36, 3), 60_192_808, ("394f9c45", 78.312), ("f82ba261", 82.284)),
)
