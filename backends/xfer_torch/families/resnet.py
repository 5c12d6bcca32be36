"""ResNet, ResNeXt and Wide ResNet, torchvision's own modules."""

from __future__ import annotations

import torchvision
from torch import nn

from xfer.zoo import Card


def resnet(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """He et al. 2015 (arXiv:1512.03385), with the stride in the 3x3 convolution."""
    net = torchvision.models.get_model(card.name, weights=None)
    return net, {
        "stem": nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool),
        "layer1": net.layer1,
        "layer2": net.layer2,
        "layer3": net.layer3,
        "layer4": net.layer4,
        "features": nn.Sequential(net.avgpool, nn.Flatten()),
    }
