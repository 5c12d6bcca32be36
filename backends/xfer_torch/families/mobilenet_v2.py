"""MobileNet v2, torchvision's own module."""

from __future__ import annotations

import torchvision
from torch import nn

from xfer.zoo import Card
from xfer_torch.layers import global_average, numbered


def mobilenet_v2(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Sandler et al. 2018 (arXiv:1801.04381)."""
    net = torchvision.models.get_model(card.name, weights=None)
    return net, {**numbered(card, net.features), "features": global_average()}
