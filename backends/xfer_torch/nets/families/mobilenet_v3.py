"""MobileNet v3, torchvision's own module."""

from __future__ import annotations

import torchvision
from torch import nn
from torchvision.ops import SqueezeExcitation

from xfer.zoo import Card
from xfer_torch.nets.layers import HardSigmoid, global_average, numbered


def mobilenet_v3(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Howard et al. 2019 (arXiv:1905.02244)."""
    net = torchvision.models.get_model(card.name, weights=None)
    for layer in net.modules():
        if isinstance(layer, SqueezeExcitation):
            layer.scale_activation = HardSigmoid()
    stages = numbered(card, net.features)
    return net, {
        **stages,
        "classifier": nn.Sequential(global_average(), net.classifier[0], net.classifier[1]),
        "features": nn.Identity(),
    }
