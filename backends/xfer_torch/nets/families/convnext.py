"""ConvNeXt, torchvision's own module."""

from __future__ import annotations

import torchvision
from torch import nn

from xfer.zoo import Card
from xfer_torch.nets.layers import numbered


def convnext(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Liu et al. 2022 (arXiv:2201.03545); a stage begins with its downsampling."""
    net = torchvision.models.get_model(card.name, weights=None)
    return net, {
        **numbered(card, net.features),
        "norm": nn.Sequential(net.avgpool, net.classifier[0], net.classifier[1]),
        "features": nn.Identity(),
    }
