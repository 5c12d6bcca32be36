"""The network of `xfer.zoo.tiny`."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from xfer.zoo import Card


def tiny(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Two 3x3 convolutions of stride 2 with batch norm and ReLU, global average pooling, linear.

    With `hidden` in the configuration, a linear layer of that width and ReLU before the head.
    """
    first, second = card.config["widths"]
    norm = {"eps": card.norm_eps, "momentum": card.norm_momentum}
    layer1 = OrderedDict(
        conv=nn.Conv2d(first, second, 3, stride=2, padding=1, bias=False),
        bn=nn.BatchNorm2d(second, **norm),
        relu=nn.ReLU(),
    )
    net = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False),
            bn1=nn.BatchNorm2d(first, **norm),
            relu=nn.ReLU(),
            layer1=nn.Sequential(layer1),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(second, 1000),
        )
    )
    pooled = nn.Sequential(net.avgpool, net.flatten)
    if hidden := card.config.get("hidden"):
        net.mlp = nn.Linear(second, hidden)
        mlp = nn.Sequential(pooled, net.mlp, nn.ReLU())
        return net, {"stem": net[:3], "layer1": net.layer1, "mlp": mlp, "features": nn.Identity()}
    return net, {"stem": net[:3], "layer1": net.layer1, "features": pooled}
