"""GoogLeNet, torchvision's own module."""

from __future__ import annotations

import torchvision
from torch import nn

from xfer.zoo import Card
from xfer_torch.nets.layers import global_average


def googlenet(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Szegedy et al. 2014 (arXiv:1409.4842); blocks end where an auxiliary classifier reads."""
    net = torchvision.models.googlenet(weights=None, aux_logits=True, init_weights=False)
    return net, {
        "stem": nn.Sequential(net.conv1, net.maxpool1, net.conv2, net.conv3, net.maxpool2),
        "inception3": nn.Sequential(net.inception3a, net.inception3b, net.maxpool3),
        "inception4a": net.inception4a,
        "inception4d": nn.Sequential(net.inception4b, net.inception4c, net.inception4d),
        "inception4e": nn.Sequential(net.inception4e, net.maxpool4),
        "inception5": nn.Sequential(net.inception5a, net.inception5b),
        "features": global_average(),
    }
