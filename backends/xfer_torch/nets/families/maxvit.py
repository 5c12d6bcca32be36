"""MaxViT, torchvision's own module."""

from __future__ import annotations

import torchvision
from torch import nn

from xfer.zoo import Card


def maxvit(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Tu et al. 2022 (arXiv:2204.01697)."""
    size = card.config["size"]
    net = torchvision.models.get_model(card.name, weights=None, input_size=(size, size))
    return net, {
        "stem": net.stem,
        **{f"block{i}": block for i, block in enumerate(net.blocks, 1)},
        "classifier": net.classifier[:5],
        "features": nn.Identity(),
    }
