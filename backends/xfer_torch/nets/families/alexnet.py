"""AlexNet, torchvision's own module."""

from __future__ import annotations

from itertools import pairwise

import torchvision
from torch import nn

from xfer.zoo import Card


def alexnet(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Krizhevsky 2014 (arXiv:1404.5997); a block is a convolution, its ReLU, and its max-pool if there is one."""
    net = torchvision.models.get_model(card.name, weights=None)
    starts = [0, 3, 6, 8, 10, 13]
    return net, {
        **{f"block{i}": net.features[a:b] for i, (a, b) in enumerate(pairwise(starts), 1)},
        "classifier": nn.Sequential(net.avgpool, nn.Flatten(), *net.classifier[:6]),
        "features": nn.Identity(),
    }
