"""Vision transformer, torchvision's own module."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn

from xfer.zoo import Card
from xfer.zoo.depth import depth_share
from xfer_torch.nets.layers import Dropped


def vit(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Dosovitskiy et al. 2020 (arXiv:2010.11929)."""
    net = torchvision.models.get_model(card.name, weights=None, image_size=card.config["size"])
    layers = list(net.encoder.layers.children())
    for i, layer in enumerate(layers):
        share = depth_share(i, len(layers))
        layer.dropout, layer.mlp[2], layer.mlp[4] = Dropped(share), nn.Dropout(), Dropped(share)
    return net, {
        "stem": Tokens(net.conv_proj, net.class_token, net.encoder.pos_embedding),
        **{f"layer{i}": layer for i, layer in enumerate(layers)},
        "norm": net.encoder.ln,
        "features": ClassToken(),
    }


class Tokens(nn.Module):
    """Patches as tokens, the class token before them, and the places of all of them added."""

    def __init__(self, conv_proj: nn.Module, class_token: nn.Parameter, pos_embedding: nn.Parameter) -> None:
        super().__init__()
        self.conv_proj, self.class_token, self.pos_embedding = conv_proj, class_token, pos_embedding

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, 1 + patches, D)."""
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(x.shape[0], -1, -1), patches], dim=1) + self.pos_embedding


class ClassToken(nn.Module):
    """What the class token has gathered."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, D) to (N, D)."""
        return x[:, 0]
