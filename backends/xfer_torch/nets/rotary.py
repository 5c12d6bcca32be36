"""Rotary position embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xfer.zoo import Card
from xfer.zoo.eva02 import rotary


class Rotary(nn.Module):
    """Pairs of channels turned by an angle that depends on the place of a patch (Su et al. 2021, arXiv:2104.09864).

    Its tables are no weights: they are computed from the number of patches.
    """

    def __init__(self, card: Card) -> None:
        super().__init__()
        c = card.config
        self.prefix = card.prefix_tokens
        sines, cosines = rotary(c["size"] // c["patch"], card.feature_dim // c["heads"])
        self.register_buffer("sines", torch.tensor(sines), persistent=False)
        self.register_buffer("cosines", torch.tensor(cosines), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, heads, prefix + patches, d) to the same; the prefix has no place."""
        prefix, patches = x[:, :, : self.prefix], x[:, :, self.prefix :]
        first, second = patches[..., ::2], patches[..., 1::2]
        across = torch.stack([-second, first], -1).flatten(-2)
        return torch.cat([prefix, (patches * self.cosines + across * self.sines).to(x.dtype)], dim=2)
