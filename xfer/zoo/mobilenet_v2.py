"""MobileNet v2: Sandler et al. 2018, "Inverted Residuals and Linear Bottlenecks" (arXiv:1801.04381)."""

from __future__ import annotations

from xfer.zoo.card import Card
from xfer.zoo.published import published

# (expansion, channels, repeats, stride) of each stage
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _blocks() -> dict[str, tuple[str, ...]]:
    """torchvision numbers all layers alike as `features.N`."""
    blocks: dict[str, tuple[str, ...]] = {"stem": ("features.0",)}
    index = 1
    for stage, (_, _, repeats, _) in enumerate(_STAGES, 1):
        blocks[f"stage{stage}"] = tuple(f"features.{index + i}" for i in range(repeats))
        index += repeats
    return blocks | {"top": (f"features.{index}",)}


CARDS = (
    Card(
        name="mobilenet_v2",
        family="mobilenet_v2",
        blocks=_blocks(),
        head="classifier.1",
        feature_dim=1280,
        config={"stages": _STAGES, "stem": 32, "top": 1280, "pad": 1},
        parameters=3_504_872,
        source="https://arxiv.org/abs/1801.04381",
        **published(
            ("IMAGENET1K_V2", "mobilenet_v2-7ebf99e0", 72.154, 232),
            ("IMAGENET1K_V1", "mobilenet_v2-b0353104", 71.878, 256),
        ),
    ),
)
