"""ResNet, ResNeXt and Wide ResNet, torchvision's own modules; ResNet v1 is made of them."""

from __future__ import annotations

import torchvision
from torch import nn
from torchvision.models.resnet import Bottleneck

from xfer.zoo import Card
from xfer_torch.nets.layers import keras_norm


def resnet(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """He et al. 2015 (arXiv:1512.03385), with the stride in the 3x3 convolution."""
    net = torchvision.models.get_model(card.torchvision_name, weights=None)
    if card.config.get("v1"):
        make_v1(net, card)
    return net, {
        "stem": nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool),
        "layer1": net.layer1,
        "layer2": net.layer2,
        "layer3": net.layer3,
        "layer4": net.layer4,
        "features": nn.Sequential(net.avgpool, nn.Flatten()),
    }


def make_v1(net: nn.Module, card: Card) -> None:
    """ResNet as in the paper and in keras.applications: the stride in a bottleneck's first convolution, and biases."""
    keras_norm(net, card)
    for block in net.modules():
        if isinstance(block, Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.bias = nn.Parameter(layer.weight.new_zeros(layer.out_channels))
