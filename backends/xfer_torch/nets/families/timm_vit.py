"""timm's vision transformers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from xfer.zoo import Card
from xfer.zoo.depth import depth_share


def timm_vit(card: Card) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Dosovitskiy et al. 2020 (arXiv:2010.11929) with the variations of timm's `VisionTransformer`."""
    net = VisionTransformer(card, lambda share: Block(card, share))
    return net, net.stages(card)


class VisionTransformer(nn.Module):
    """Patches as tokens, blocks of attention and MLP, and pooling; its tensors have timm's names.

    Args:
        card: its `config` says what it has.
        block: makes a block, (N, L, D) to (N, L, D), from its share of the rate of stochastic depth.
    """

    def __init__(self, card: Card, block: Callable[[float], nn.Module]) -> None:
        super().__init__()
        c, width, eps = card.config, card.feature_dim, card.norm_eps
        places = (c["size"] // c["patch"]) ** 2
        prefix = c["class_token"] + c["registers"] if c["prefix_has_places"] else 0
        self.cls_token = nn.Parameter(torch.empty(1, 1, width)) if c["class_token"] else None
        self.reg_token = nn.Parameter(torch.empty(1, c["registers"], width)) if c["registers"] else None
        self.pos_embed = nn.Parameter(torch.empty(1, prefix + places, width))
        self.patch_embed = nn.Sequential()
        self.patch_embed.proj = nn.Conv2d(3, width, c["patch"], c["patch"], bias=not c["pre_norm"])
        self.norm_pre = nn.LayerNorm(width, eps) if c["pre_norm"] else nn.Identity()
        self.blocks = nn.Sequential(*(block(depth_share(i, c["depth"])) for i in range(c["depth"])))
        if not c["norm_after_pool"]:
            self.norm = nn.LayerNorm(width, eps)
        if c["pool"] == "map":
            self.attn_pool = AttentionPool(card)
        if c["norm_after_pool"]:
            self.fc_norm = nn.LayerNorm(width, eps)
        self.head = nn.Linear(width, 1000)
        self._card = card

    def stages(self, card: Card) -> dict[str, nn.Module]:
        """The blocks of the card, and the features."""
        c = card.config
        pool: nn.Module = nn.Identity()
        if c["pool"] != "map":
            pool = Pool(0 if c["pool"] == "token" else c["class_token"] + c["registers"], c["pool"] == "avg")
        stages = {"stem": Tokens(self, c["prefix_has_places"])}
        stages |= {f"layer{i}": block for i, block in enumerate(self.blocks)}
        if c["norm_after_pool"]:
            return stages | {"norm": nn.Sequential(pool, self.fc_norm), "features": nn.Identity()}
        stages["norm"] = self.norm
        return stages | ({"pool": self.attn_pool} if c["pool"] == "map" else {}) | {"features": pool}

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, K)."""
        for stage in self.stages(self._card).values():
            x = stage(x)
        return self.head(x)


class Tokens(nn.Module):
    """Patches as tokens, the class and register tokens before them, and the places added."""

    def __init__(self, net: VisionTransformer, prefix_has_places: bool) -> None:
        super().__init__()
        self.proj, self.norm_pre, self.pos_embed = net.patch_embed.proj, net.norm_pre, net.pos_embed
        self.cls_token, self.reg_token = net.cls_token, net.reg_token
        self.prefix_has_places = prefix_has_places

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, prefix + patches, D)."""
        x = self.proj(x).flatten(2).transpose(1, 2)
        if not self.prefix_has_places:
            x = x + self.pos_embed
        prefix = [token.expand(x.shape[0], -1, -1) for token in (self.cls_token, self.reg_token) if token is not None]
        x = torch.cat([*prefix, x], dim=1) if prefix else x
        return self.norm_pre(x + self.pos_embed if self.prefix_has_places else x)


class Block(nn.Module):
    """Attention, then an MLP on each token; each normalised before, scaled by channel, and added to its input."""

    def __init__(self, card: Card, share: float) -> None:
        super().__init__()
        c, width, eps = card.config, card.feature_dim, card.norm_eps
        self.norm1, self.attn = nn.LayerNorm(width, eps), Attention(width, c["heads"], c["qkv_bias"])
        self.ls1 = LayerScale(width) if c["layer_scale"] else nn.Identity()
        self.norm2, self.mlp = nn.LayerNorm(width, eps), Mlp(width, c["mlp"], c["activation"])
        self.ls2 = LayerScale(width) if c["layer_scale"] else nn.Identity()
        self.drop_path1, self.drop_path2 = StochasticDepth(share, "row"), StochasticDepth(share, "row")

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, D) to (N, L, D)."""
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))


class Attention(nn.Module):
    """Softmax attention of all tokens to each other (Vaswani et al. 2017, arXiv:1706.03762)."""

    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)
        self.proj_drop = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, D) to (N, L, D)."""
        parts = self.qkv(x).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        x = functional.scaled_dot_product_attention(query, key, value)
        return self.proj_drop(self.proj(x.transpose(1, 2).flatten(2)))


class AttentionPool(nn.Module):
    """Attention of one learned query to all tokens, and an MLP (Zhai et al. 2021, arXiv:2106.04560)."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        width, c = card.feature_dim, card.config
        self.heads = c["heads"]
        self.latent = nn.Parameter(torch.empty(1, 1, width))
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, card.norm_eps)
        self.mlp = Mlp(width, c["mlp"], c["activation"], drops=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, D) to (N, D)."""
        query = self.q(self.latent.expand(x.shape[0], -1, -1)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.kv(x).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        x = functional.scaled_dot_product_attention(query, key, value)
        x = self.proj(x.transpose(1, 2).flatten(2))
        return (x + self.mlp(self.norm(x)))[:, 0]


class Mlp(nn.Module):
    """Two linear layers with an activation between them; that of an attention pool has no dropout."""

    def __init__(self, width: int, hidden: int, activation: str, *, drops: bool = True) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, hidden), ACTIVATIONS[activation](), nn.Linear(hidden, width)
        self.drop1, self.drop2 = (nn.Dropout() if drops else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return self.drop2(self.fc2(self.drop1(self.act(self.fc1(x)))))


class LayerScale(nn.Module):
    """Channels times a learned factor each (Touvron et al. 2021, arXiv:2103.17239)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return x * self.gamma


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x), OpenAI's approximation of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, unchanged."""
        return x * torch.sigmoid(1.702 * x)


class Pool(nn.Module):
    """The first token, or the mean of all tokens after a prefix."""

    def __init__(self, prefix: int, average: bool) -> None:
        super().__init__()
        self.prefix, self.average = prefix, average

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, D) to (N, D)."""
        return x[:, self.prefix :].mean(1) if self.average else x[:, 0]


def _gelu_tanh() -> nn.Module:
    return nn.GELU(approximate="tanh")


ACTIVATIONS = {"gelu": nn.GELU, "gelu_tanh": _gelu_tanh, "quick_gelu": QuickGelu}
