"""EVA-02 with timm's names."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from xfer.zoo import Card
from xfer_torch.nets.families.timm_vit import VisionTransformer
from xfer_torch.nets.rotary import Rotary


def eva02(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Fang et al. 2023 (arXiv:2303.11331): a vision transformer with rotary embeddings, SwiGLU and sub-LN."""
    places = Rotary(card)
    net = VisionTransformer(card, lambda share: Block(card, share, places))
    return net, net.stages(card)


class Block(nn.Module):
    """Attention, then an MLP on each token; each normalised before, and added to its input."""

    def __init__(self, card: Card, share: float, places: Rotary) -> None:
        super().__init__()
        width, eps, mlp = card.feature_dim, card.norm_eps, SwiGlu if card.config["mlp_norm"] else PackedSwiGlu
        self.norm1, self.attn = nn.LayerNorm(width, eps), Attention(card, places)
        self.norm2, self.mlp = nn.LayerNorm(width, eps), mlp(card)
        self.drop_path1, self.drop_path2 = StochasticDepth(share, "row"), StochasticDepth(share, "row")

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, D) to (N, L, D)."""
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class Attention(nn.Module):
    """Softmax attention of all tokens to each other, with rotary embeddings and without a bias of keys."""

    def __init__(self, card: Card, places: Rotary) -> None:
        super().__init__()
        width, c = card.feature_dim, card.config
        self.heads, self.fused, self.places = c["heads"], c["fused"], places
        if self.fused:
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.q_bias, self.v_bias = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))
        else:
            self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width, bias=False)
            self.v_proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, card.norm_eps) if c["attention_norm"] else nn.Identity()
        self.proj = nn.Linear(width, width)

    def projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, L, D) to queries, keys and values, each (N, L, D)."""
        if not self.fused:
            return self.q_proj(x), self.k_proj(x), self.v_proj(x)
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return (self.qkv(x) + bias).chunk(3, dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, D) to (N, L, D)."""
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.projected(x))
        y = functional.scaled_dot_product_attention(self.places(query), self.places(key), value)
        return self.proj(self.norm(y.transpose(1, 2).flatten(2)))


class PackedSwiGlu(nn.Module):
    """A hidden layer times another that goes through SiLU (Shazeer 2020, arXiv:2002.05202); both are of one matrix."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        width, hidden = card.feature_dim, card.config["mlp"]
        self.fc1, self.act, self.fc2 = nn.Linear(width, 2 * hidden), nn.SiLU(), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        gate, x = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(self.act(gate) * x)


class SwiGlu(nn.Module):
    """A hidden layer times another that goes through SiLU, normalised (Wang et al. 2022, arXiv:2210.06423)."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        width, hidden = card.feature_dim, card.config["mlp"]
        self.fc1_g, self.fc1_x, self.act = nn.Linear(width, hidden), nn.Linear(width, hidden), nn.SiLU()
        self.norm, self.fc2 = nn.LayerNorm(hidden, card.norm_eps), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return self.fc2(self.norm(self.act(self.fc1_g(x)) * self.fc1_x(x)))
