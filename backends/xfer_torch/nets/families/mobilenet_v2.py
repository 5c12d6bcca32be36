"""MobileNet v2, torchvision's own module; Keras's is it with TensorFlow's padding."""

from __future__ import annotations

import torchvision
from torch import nn
from torchvision.ops import Conv2dNormActivation

from xfer.zoo import Card
from xfer_torch.nets.layers import SameConv2d, global_average, keras_norm, numbered


def mobilenet_v2(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Sandler et al. 2018 (arXiv:1801.04381)."""
    net = torchvision.models.get_model(card.torchvision_name, weights=None)
    if card.config["pad"] == "same":
        keras_norm(net, card)
        for unit in net.modules():
            if isinstance(unit, Conv2dNormActivation) and unit[0].kernel_size == (3, 3):
                old = unit[0]
                unit[0] = SameConv2d(old.in_channels, old.out_channels, 3, old.stride[0], old.groups)
    return net, {**numbered(card, net.features), "features": global_average()}
