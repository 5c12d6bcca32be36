"""MaxViT, torchvision's own module."""

from __future__ import annotations

from torch import nn
from torchvision.models.maxvit import MaxVit

from xfer.zoo import Card
from xfer.zoo.maxvit import partition


def maxvit(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Tu et al. 2022 (arXiv:2204.01697)."""
    c, size = card.config, card.config["size"]
    net = MaxVit(
        input_size=(size, size),
        stem_channels=c["stem"],
        partition_size=partition(size),
        block_channels=list(c["widths"]),
        block_layers=list(c["repeats"]),
        head_dim=c["head_width"],
        stochastic_depth_prob=c["stochastic_depth"],
    )
    return net, {
        "stem": net.stem,
        **{f"block{i}": block for i, block in enumerate(net.blocks, 1)},
        "classifier": net.classifier[:5],
        "features": nn.Identity(),
    }
