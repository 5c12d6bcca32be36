"""MobileNet, Keras's, which torchvision lacks."""

from __future__ import annotations

from torch import Tensor, nn

from xfer.zoo import Card
from xfer_torch.nets.layers import SameConv2d, global_average, numbered


class MobileNet(nn.Module):
    """Howard et al. 2017 (arXiv:1704.04861): depthwise separable convolutions, TensorFlow's padding."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        width = card.config["stem"]
        self.features = nn.Sequential(_unit(card, 3, width, 3, 2))
        for out, stride in card.config["layers"]:
            self.features.append(
                nn.Sequential(_unit(card, width, width, 3, stride, groups=width), _unit(card, width, out, 1))
            )
            width = out
        self.pool = global_average()
        self.classifier: nn.Module = nn.Linear(card.feature_dim, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of normalised images (N, 3, H, W)."""
        return self.classifier(self.pool(self.features(x)))


def _unit(card: Card, width: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = SameConv2d(width, out, kernel, stride=stride, groups=groups)
    return nn.Sequential(convolution, nn.BatchNorm2d(out, card.norm_eps, card.norm_momentum), nn.ReLU6(inplace=True))


def mobilenet_v1(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Howard et al. 2017 (arXiv:1704.04861)."""
    net = MobileNet(card)
    return net, {**numbered(card, net.features), "features": net.pool}
