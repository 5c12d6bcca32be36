"""RegNet, torchvision's own module."""

from __future__ import annotations

from torch import nn
from torchvision.models.regnet import BlockParams, RegNet

from xfer.zoo import Card
from xfer_torch.nets.layers import global_average


def regnet(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Radosavovic et al. 2020 (arXiv:2003.13678)."""
    widths, group = card.config["widths"], card.config["group"]
    net = RegNet(
        BlockParams(
            depths=card.config["repeats"],
            widths=widths,
            group_widths=[min(width, group) for width in widths],
            bottleneck_multipliers=[1.0] * len(widths),
            strides=[2] * len(widths),
            se_ratio=0.25 if card.config["squeeze"] else None,
        )
    )
    return net, {"stem": net.stem, **dict(net.trunk_output.named_children()), "features": global_average()}
