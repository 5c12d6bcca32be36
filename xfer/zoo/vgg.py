"""VGG: Simonyan & Zisserman 2014, "Very Deep Convolutional Networks" (arXiv:1409.1556), with and without batch norm."""

from __future__ import annotations

from xfer.zoo.card import Card
from xfer.zoo.published import published

_REPEATS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def _blocks(repeats: tuple[int, ...], norm: bool) -> dict[str, tuple[str, ...]]:
    """Blocks end at max-pools; torchvision numbers convolutions, norms, ReLUs and pools alike as `features.N`."""
    blocks: dict[str, tuple[str, ...]] = {}
    index = 0
    for block, convolutions in enumerate(repeats, 1):
        layers = []
        for _ in range(convolutions):
            layers += [f"features.{index}", f"features.{index + 1}"] if norm else [f"features.{index}"]
            index += 3 if norm else 2
        blocks[f"block{block}"] = tuple(layers)
        index += 1
    return blocks | {"classifier": ("classifier.0", "classifier.3")}


def _card(depth: int, norm: bool, parameters: int, sha256: str, acc1: float) -> Card:
    name = f"vgg{depth}_bn" if norm else f"vgg{depth}"
    return Card(
        name=name,
        family="vgg",
        blocks=_blocks(_REPEATS[depth], norm),
        head="classifier.6",
        feature_dim=4096,
        config={"repeats": _REPEATS[depth], "norm": norm, "dropout": 0.5},
        parameters=parameters,
        size_smallest=32,
        source="https://arxiv.org/abs/1409.1556",
        **published(("IMAGENET1K_V1", f"{name}-{sha256}", acc1, 256)),
    )


CARDS = (
    _card(11, False, 132_863_336, "8a719046", 69.020),
    _card(11, True, 132_868_840, "6002323d", 70.370),
    _card(13, False, 133_047_848, "19584684", 69.928),
    _card(13, True, 133_053_736, "abd245e5", 71.586),
    _card(16, False, 138_357_544, "397923af", 71.592),
    _card(16, True, 138_365_992, "6c64b313", 73.360),
    _card(19, False, 143_667_240, "dcbb9e9d", 72.376),
    _card(19, True, 143_678_248, "c79401a0", 74.218),
)
