"""EfficientNet, EfficientNet v2 and EfficientNet-Lite with TensorFlow's padding and timm's names."""

from __future__ import annotations

from torch import Tensor, nn

from xfer.zoo import Card
from xfer_torch.nets.layers import global_average
from xfer_torch.nets.timm_blocks import activation, conv, norm, stages


def tf_efficientnet(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Tan & Le 2019 (arXiv:1905.11946) and 2021 (arXiv:2104.00298)."""
    net = EfficientNet(card)
    return net, net.parts()


class EfficientNet(nn.Module):
    """A convolution, stages, a convolution of one pixel, and the average of all places."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        stem, top = card.config["stem"], card.config["top"]
        self.conv_stem, self.bn1 = conv(card, 3, stem, 3, 2), norm(card, stem)
        self.blocks = stages(card)
        self.conv_head, self.bn2 = conv(card, card.config["stages"][-1][-1].width, top), norm(card, top)
        self.act, self.pool = activation(card), global_average()
        self.classifier: nn.Module = nn.Linear(top, 1000)

    def parts(self) -> dict[str, nn.Module]:
        """The blocks of the card, and the features."""
        return {
            "stem": nn.Sequential(self.conv_stem, self.bn1, self.act),
            **{f"stage{i}": stage for i, stage in enumerate(self.blocks)},
            "top": nn.Sequential(self.conv_head, self.bn2, self.act),
            "features": self.pool,
        }

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, K)."""
        x = self.blocks(self.act(self.bn1(self.conv_stem(x))))
        return self.classifier(self.pool(self.act(self.bn2(self.conv_head(x)))))
