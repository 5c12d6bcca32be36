"""EfficientNet and EfficientNet v2, torchvision's own modules."""

from __future__ import annotations

import torchvision
from torch import nn

from xfer.zoo import Card
from xfer_torch.nets.layers import global_average, numbered


def efficientnet(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Tan & Le 2019 (arXiv:1905.11946) and 2021 (arXiv:2104.00298)."""
    net = torchvision.models.get_model(card.name, weights=None)
    return net, {**numbered(card, net.features), "features": global_average()}
