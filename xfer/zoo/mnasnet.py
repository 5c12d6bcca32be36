"""MNASNet: Tan et al. 2018, "Platform-Aware Neural Architecture Search for Mobile" (arXiv:1807.11626)."""

from __future__ import annotations

from xfer.zoo.card import Card
from xfer.zoo.published import published

# (channels at full width, kernel, stride, expansion, repeats) of each stack
_STACKS = ((24, 3, 2, 3, 3), (40, 5, 2, 3, 3), (80, 5, 2, 6, 3), (96, 3, 1, 6, 2), (192, 5, 2, 6, 4), (320, 3, 1, 6, 1))


def _width(channels: int, factor: float) -> int:
    """Channels times a factor, to a multiple of 8 that is not much less, as torchvision rounds."""
    wanted = channels * factor
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def _card(name: str, factor: float, parameters: int, file: str, acc1: float, resize: int) -> Card:
    return Card(
        name=name,
        family="mnasnet",
        blocks={
            "stem": tuple(f"layers.{i}" for i in (0, 1, 3, 4, 6, 7)),
            **{f"stack{i}": (f"layers.{7 + i}",) for i in range(1, 7)},
            "top": ("layers.14", "layers.15"),
        },
        head="classifier.1",
        feature_dim=1280,
        config={
            "stem": (_width(32, factor), _width(16, factor)),
            "stacks": tuple((_width(stack[0], factor), *stack[1:]) for stack in _STACKS),
        },
        parameters=parameters,
        norm_momentum=1 - 0.9997,
        source="https://arxiv.org/abs/1807.11626",
        **published(("IMAGENET1K_V1", file, acc1, resize)),
    )


CARDS = (
    _card("mnasnet0_5", 0.5, 2_218_512, "mnasnet0.5_top1_67.823-3ffadce67e", 67.734, 256),
    _card("mnasnet0_75", 0.75, 3_170_208, "mnasnet0_75-7090bc5f", 71.180, 232),
    _card("mnasnet1_0", 1.0, 4_383_312, "mnasnet1.0_top1_73.512-f206786ef8", 73.456, 256),
    _card("mnasnet1_3", 1.3, 6_282_256, "mnasnet1_3-a4c69d6f", 76.506, 232),
)
