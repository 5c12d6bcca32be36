"""SqueezeNet: Iandola et al. 2016, "AlexNet-level accuracy with 50x fewer parameters" (arXiv:1602.07360)."""

from __future__ import annotations

from typing import Any

from xfer.zoo.card import Card
from xfer.zoo.published import published

# Channels that a fire module squeezes to, and expands to by 1x1 and by 3x3 each; None is a max-pool.
_FIRES = ((16, 64), (16, 64), (32, 128), None, (32, 128), (48, 192), (48, 192), (64, 256), None, (64, 256))
_1_0 = _FIRES
_1_1 = ((16, 64), (16, 64), None, (32, 128), (32, 128), None, (48, 192), (48, 192), (64, 256), (64, 256))


def _blocks(layers: tuple[tuple[int, int] | None, ...]) -> dict[str, tuple[str, ...]]:
    """A stage begins with a max-pool; torchvision numbers all layers alike as `features.N`."""
    blocks: dict[str, tuple[str, ...]] = {"stem": ("features.0",), "stage1": ()}
    for index, layer in enumerate(layers, 3):
        if layer is None:
            blocks[f"stage{len(blocks)}"] = ()
        else:
            blocks[list(blocks)[-1]] += (f"features.{index}",)
    return blocks


def _card(
    version: str,
    stem: tuple[int, int],
    layers: tuple[tuple[int, int] | None, ...],
    parameters: int,
    row: tuple[Any, ...],
) -> Card:
    """`stem`: channels and kernel of the first convolution."""
    return Card(
        name=f"squeezenet{version}",
        family="squeezenet",
        blocks=_blocks(layers),
        head="classifier.1",
        feature_dim=512,
        config={"stem": stem, "layers": layers},
        parameters=parameters,
        head_per_place=True,
        size_smallest=21 if version == "1_0" else 17,
        source="https://arxiv.org/abs/1602.07360",
        **published(("IMAGENET1K_V1", *row)),
    )


CARDS = (
    _card("1_0", (96, 7), _1_0, 1_248_424, ("squeezenet1_0-b66bff10", 58.092, 256)),
    _card("1_1", (64, 3), _1_1, 1_235_496, ("squeezenet1_1-b8a52dc0", 58.178, 256)),
)
