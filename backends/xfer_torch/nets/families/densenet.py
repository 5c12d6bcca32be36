"""DenseNet, torchvision's own module; Keras's is it with another epsilon."""

from __future__ import annotations

import torchvision
from torch import nn

from xfer.zoo import Card
from xfer_torch.nets.layers import global_average, keras_norm


def densenet(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Huang et al. 2016 (arXiv:1608.06993); a block ends with its transition, the last with the final norm."""
    net = torchvision.models.get_model(card.torchvision_name, weights=None)
    if card.convert:
        keras_norm(net, card)
    layers = net.features
    return net, {
        "stem": nn.Sequential(layers.conv0, layers.norm0, layers.relu0, layers.pool0),
        "block1": nn.Sequential(layers.denseblock1, layers.transition1),
        "block2": nn.Sequential(layers.denseblock2, layers.transition2),
        "block3": nn.Sequential(layers.denseblock3, layers.transition3),
        "block4": nn.Sequential(layers.denseblock4, layers.norm5),
        "features": nn.Sequential(nn.ReLU(), global_average()),
    }
