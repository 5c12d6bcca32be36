"""ShuffleNet v2, torchvision's own module."""

from __future__ import annotations

import torchvision
from torch import nn

from xfer.zoo import Card
from xfer_torch.nets.layers import global_average


def shufflenet_v2(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Ma et al. 2018 (arXiv:1807.11164)."""
    net = torchvision.models.get_model(card.name, weights=None)
    return net, {
        "stem": nn.Sequential(net.conv1, net.maxpool),
        "stage2": net.stage2,
        "stage3": net.stage3,
        "stage4": net.stage4,
        "top": net.conv5,
        "features": global_average(),
    }
