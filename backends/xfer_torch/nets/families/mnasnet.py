"""MNASNet, torchvision's own module."""

from __future__ import annotations

import torchvision
from torch import nn

from xfer.zoo import Card
from xfer_torch.nets.layers import global_average


def mnasnet(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Tan et al. 2018 (arXiv:1807.11626)."""
    net = torchvision.models.get_model(card.name, weights=None)
    return net, {
        "stem": net.layers[:8],
        **{f"stack{i}": net.layers[7 + i] for i in range(1, 7)},
        "top": net.layers[14:],
        "features": global_average(),
    }
