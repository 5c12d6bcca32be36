"""VGG, torchvision's own module."""

from __future__ import annotations

import torchvision
from torch import nn

from xfer.zoo import Card


def vgg(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Simonyan & Zisserman 2014 (arXiv:1409.1556); a block ends with its max-pool."""
    net = torchvision.models.get_model(card.torchvision_name, weights=None, init_weights=False)
    stages: dict[str, nn.Module] = {}
    layers: list[nn.Module] = []
    for layer in net.features:
        layers.append(layer)
        if isinstance(layer, nn.MaxPool2d):
            stages[f"block{len(stages) + 1}"] = nn.Sequential(*layers)
            layers = []
    stages["classifier"] = nn.Sequential(net.avgpool, nn.Flatten(), *net.classifier[:6])
    stages["features"] = nn.Identity()
    return net, stages
