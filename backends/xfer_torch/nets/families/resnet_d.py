"""ResNet-D and ResNet-RS with timm's names, of torchvision's modules."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import SqueezeExcitation

from xfer.zoo import Card


def resnet_d(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """He et al. 2018 (arXiv:1812.01187) and Bello et al. 2021 (arXiv:2103.07579)."""
    c = card.config
    block = (SqueezedBottleneck if c["squeeze"] else Bottleneck) if c["bottleneck"] else BasicBlock
    net = ResNet(block, list(c["repeats"]))
    net.conv1 = nn.Sequential(*conv_norm(3, c["stem"], 2), *conv_norm(c["stem"], c["stem"]), conv(c["stem"], 64))
    if c["convolved"]:
        net.maxpool = nn.Sequential(*conv_norm(64, 64, 2))
    for layer in net.modules():
        if isinstance(layer, BasicBlock | Bottleneck) and layer.downsample is not None:
            average_shortcut(layer)
    return net, {
        "stem": nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool),
        **{f"layer{i}": net.get_submodule(f"layer{i}") for i in (1, 2, 3, 4)},
        "features": nn.Sequential(net.avgpool, nn.Flatten()),
    }


def conv(width: int, out: int, stride: int = 1) -> nn.Conv2d:
    """A convolution of 3 x 3 pixels."""
    return nn.Conv2d(width, out, 3, stride, 1, bias=False)


def conv_norm(width: int, out: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """A convolution of 3 x 3 pixels, normalisation and ReLU."""
    return conv(width, out, stride), nn.BatchNorm2d(out), nn.ReLU(inplace=True)


def average_shortcut(block: BasicBlock | Bottleneck) -> None:
    """Let a shortcut with a stride average 2 x 2 pixels, at the border those that are there, before it projects."""
    projection, norm = block.downsample
    pool: nn.Module = nn.Identity()
    if block.stride > 1:
        pool = nn.AvgPool2d(2, block.stride, ceil_mode=True, count_include_pad=False)
    projection.stride = (1, 1)
    block.downsample = nn.Sequential(pool, projection, norm)


class SqueezedBottleneck(Bottleneck):
    """A bottleneck with squeeze-and-excitation (Hu et al. 2017, arXiv:1709.01507)."""

    def __init__(self, inplanes: int, planes: int, *args: object, **options: object) -> None:
        super().__init__(inplanes, planes, *args, **options)  # type: ignore[arg-type]
        self.se = SqueezeExcitation(planes * self.expansion, planes * self.expansion // 4)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 4 planes, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.se(self.bn3(self.conv3(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))
