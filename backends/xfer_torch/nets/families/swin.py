"""Swin and Swin v2, torchvision's own modules."""

from __future__ import annotations

import torch
import torchvision
from torch import nn
from torchvision.models.swin_transformer import ShiftedWindowAttentionV2
from torchvision.ops import Permute

from xfer.zoo import Card
from xfer.zoo.swin import coordinates
from xfer_torch.nets.layers import global_average, numbered


def swin(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Liu et al. 2021 (arXiv:2103.14030, arXiv:2111.09883); a stage begins with its patch merging."""
    net = torchvision.models.get_model(card.name, weights=None)
    for layer in net.modules():
        if isinstance(layer, ShiftedWindowAttentionV2):  # torchvision's table has float32's precision even in float64
            table = torch.from_numpy(coordinates(card.config["window"])).to(layer.relative_coords_table.device)
            layer.relative_coords_table = table.reshape(layer.relative_coords_table.shape)
    channels_last, channels_first = Permute([0, 2, 3, 1]), Permute([0, 3, 1, 2])
    stem, *stages = numbered(card, net.features).items()
    return net, {
        stem[0]: nn.Sequential(stem[1], channels_first),
        **{name: nn.Sequential(channels_last, stage, channels_first) for name, stage in stages},
        "norm": nn.Sequential(channels_last, net.norm, channels_first),
        "features": global_average(),
    }
