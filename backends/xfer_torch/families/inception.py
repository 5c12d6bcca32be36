"""Inception v3, torchvision's own module."""

from __future__ import annotations

import torchvision
from torch import nn

from xfer.zoo import Card
from xfer_torch.layers import global_average


def inception(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Szegedy et al. 2015 (arXiv:1512.00567)."""
    net = torchvision.models.inception_v3(weights=None, aux_logits=bool(card.auxiliary), init_weights=False)
    return net, {
        "stem": nn.Sequential(
            net.Conv2d_1a_3x3,
            net.Conv2d_2a_3x3,
            net.Conv2d_2b_3x3,
            net.maxpool1,
            net.Conv2d_3b_1x1,
            net.Conv2d_4a_3x3,
            net.maxpool2,
        ),
        "mixed5": nn.Sequential(net.Mixed_5b, net.Mixed_5c, net.Mixed_5d),
        "mixed6": nn.Sequential(net.Mixed_6a, net.Mixed_6b, net.Mixed_6c, net.Mixed_6d, net.Mixed_6e),
        "mixed7": nn.Sequential(net.Mixed_7a, net.Mixed_7b, net.Mixed_7c),
        "features": global_average(),
    }
