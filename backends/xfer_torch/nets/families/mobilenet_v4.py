"""MobileNet v4 with timm's names."""

from __future__ import annotations

from torch import Tensor, nn

from xfer.zoo import Card
from xfer_torch.nets.timm_blocks import activation, conv, norm, stages


def mobilenet_v4(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Qin et al. 2024 (arXiv:2404.10518); the last convolution is of the average of all places."""
    net = MobileNetV4(card)
    return net, net.parts()


class MobileNetV4(nn.Module):
    """A convolution, stages, the average of all places, and a convolution of it."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        stem, top = card.config["stem"], card.config["top"]
        self.conv_stem, self.bn1 = conv(card, 3, stem, 3, 2), norm(card, stem)
        self.blocks = stages(card)
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.conv_head, self.norm_head = conv(card, card.config["stages"][-1][-1].width, top), norm(card, top)
        self.act = activation(card)
        self.classifier: nn.Module = nn.Linear(top, 1000)

    def parts(self) -> dict[str, nn.Module]:
        """The blocks of the card, and the features."""
        return {
            "stem": nn.Sequential(self.conv_stem, self.bn1, self.act),
            **{f"stage{i}": stage for i, stage in enumerate(self.blocks)},
            "top": nn.Sequential(self.pool, self.conv_head, self.norm_head, self.act, self.flatten),
            "features": nn.Identity(),
        }

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, K)."""
        for part in self.parts().values():
            x = part(x)
        return self.classifier(x)
