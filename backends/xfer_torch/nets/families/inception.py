"""Inception v3, torchvision's own module; Keras's is it with averages that leave the padding out."""

from __future__ import annotations

import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.inception import BasicConv2d, InceptionA, InceptionC, InceptionE

from xfer.zoo import Card
from xfer_torch.nets.layers import global_average, keras_norm


class WithoutPadding(BasicConv2d):
    """A convolution of averages over 3x3, where the padding's zeros had been counted and are taken out again."""

    def __init__(self, unit: BasicConv2d) -> None:
        super().__init__(unit.conv.in_channels, unit.conv.out_channels, kernel_size=1)
        self.conv, self.bn = unit.conv, unit.bn

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out, H, W)."""
        ones = x.new_ones(1, 1, *x.shape[2:])
        return super().forward(x / functional.avg_pool2d(ones, 3, stride=1, padding=1))


def inception(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Szegedy et al. 2015 (arXiv:1512.00567)."""
    net = torchvision.models.inception_v3(weights=None, aux_logits=bool(card.auxiliary), init_weights=False)
    if card.config.get("exclude_pad"):
        keras_norm(net, card)
        for module in net.children():
            if isinstance(module, InceptionA | InceptionC | InceptionE):
                module.branch_pool = WithoutPadding(module.branch_pool)
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
