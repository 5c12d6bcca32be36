"""EfficientNet-Lite, which torchvision lacks; layer names are timm's, padding is TensorFlow's."""

from __future__ import annotations

from torch import Tensor, nn

from xfer.zoo import Card
from xfer_torch.nets.layers import SameConv2d, global_average


class EfficientNetLite(nn.Module):
    """EfficientNet (Tan & Le 2019, arXiv:1905.11946) without squeeze-and-excitation, ReLU6 throughout."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        width = card.config["stem"]
        self.conv_stem = SameConv2d(3, width, 3, stride=2)
        self.bn1 = _norm(card, width)
        self.blocks = nn.ModuleList()
        for expansion, out, repeats, stride, kernel in card.config["stages"]:
            stage = nn.Sequential()
            for i in range(repeats):
                stage.append(InvertedResidual(card, width, out, expansion, stride if i == 0 else 1, kernel))
                width = out
            self.blocks.append(stage)
        self.conv_head = SameConv2d(width, card.config["top"], 1)
        self.bn2 = _norm(card, card.config["top"])
        self.act = nn.ReLU6(inplace=True)
        self.pool = global_average()
        self.classifier: nn.Module = nn.Linear(card.feature_dim, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of normalised images (N, 3, H, W)."""
        x = self.act(self.bn1(self.conv_stem(x)))
        for stage in self.blocks:
            x = stage(x)
        x = self.act(self.bn2(self.conv_head(x)))
        return self.classifier(self.pool(x))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to the input where shapes agree (Sandler et al. 2018)."""

    def __init__(self, card: Card, width: int, out: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        hidden = width * expansion
        self.residual = stride == 1 and width == out
        self.act = nn.ReLU6(inplace=True)
        depthwise = SameConv2d(hidden, hidden, kernel, stride=stride, groups=hidden)
        self.layers: tuple[str, ...]
        if expansion == 1:
            self.conv_dw, self.bn1 = depthwise, _norm(card, hidden)
            self.conv_pw, self.bn2 = SameConv2d(hidden, out, 1), _norm(card, out)
            self.layers = ("conv_dw", "bn1", "act", "conv_pw", "bn2")
        else:
            self.conv_pw, self.bn1 = SameConv2d(width, hidden, 1), _norm(card, hidden)
            self.conv_dw, self.bn2 = depthwise, _norm(card, hidden)
            self.conv_pwl, self.bn3 = SameConv2d(hidden, out, 1), _norm(card, out)
            self.layers = ("conv_pw", "bn1", "act", "conv_dw", "bn2", "act", "conv_pwl", "bn3")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out, H / stride, W / stride)."""
        shortcut = x
        for layer in self.layers:
            x = getattr(self, layer)(x)
        return x + shortcut if self.residual else x


def _norm(card: Card, width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=card.norm_eps, momentum=card.norm_momentum)


def efficientnet_lite(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """EfficientNet-Lite (github.com/tensorflow/tpu, models/official/efficientnet/lite)."""
    net = EfficientNetLite(card)
    return net, {
        "stem": nn.Sequential(net.conv_stem, net.bn1, net.act),
        **{f"stage{i}": stage for i, stage in enumerate(net.blocks)},
        "top": nn.Sequential(net.conv_head, net.bn2, net.act),
        "features": net.pool,
    }
