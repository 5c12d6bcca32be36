"""timm's vision transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer.zoo.depth import depth_share
from xfer_keras_nets.attention import Attention, PositionEmbedding, QueryAttention, Tokens
from xfer_keras_nets.layers import (
    Activation,
    LayerScale,
    conv,
    dropout,
    gelu,
    gelu_tanh,
    layer_norm,
    quick_gelu,
    stochastic_depth,
)

ACTIVATIONS: dict[str, Activation] = {"gelu": gelu, "gelu_tanh": gelu_tanh, "quick_gelu": quick_gelu}


def timm_vit(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Dosovitskiy et al. 2020 (arXiv:2010.11929) with the variations of timm's `VisionTransformer`."""
    return vision_transformer(x, card, block)


def vision_transformer(x: Any, card: Card, block: Callable[[Any, str, float, Card], Any]) -> Iterator[tuple[str, Any]]:
    """Patches as tokens, blocks of attention and MLP, and pooling.

    Args:
        x: images (N, S, S, 3).
        card: its `config` says what the network has.
        block: (N, L, D) to (N, L, D), its layers under a name, with its share of stochastic depth.
    """
    c, eps = card.config, card.norm_eps
    yield "stem", (x := tokens(x, card))
    for i in range(c["depth"]):
        yield f"layer{i}", (x := block(x, f"blocks.{i}", depth_share(i, c["depth"]), card))
    if c["norm_after_pool"]:
        yield "norm", (x := layer_norm(pool(x, card), "fc_norm", eps))
        yield "features", layers.Identity(name="features")(x)
        return
    yield "norm", (x := layer_norm(x, "norm", eps))
    if c["pool"] == "map":
        yield "pool", (x := attention_pool(x, "attn_pool", card))
        yield "features", layers.Identity(name="features")(x)
    else:
        yield "features", pool(x, card)


def tokens(x: Any, card: Card) -> Any:
    """Patches as tokens, the class and register tokens before them, and the places added."""
    c = card.config
    x = conv(x, "patch_embed.proj", card.feature_dim, c["patch"], c["patch"], bias=not c["pre_norm"])
    x = layers.Reshape((-1, card.feature_dim), name="patches")(x)
    places = PositionEmbedding("pos_embed", name="pos_embed")
    if not c["prefix_has_places"]:
        x = places(x)
    if c["registers"]:
        x = Tokens(c["registers"], name="reg_token")(x)
    if c["class_token"]:
        x = Tokens(name="cls_token")(x)
    if c["prefix_has_places"]:
        x = places(x)
    return layer_norm(x, "norm_pre", card.norm_eps) if c["pre_norm"] else x


def block(x: Any, name: str, share: float, card: Card) -> Any:
    """Attention, then an MLP on each token; each normalised before, scaled by channel, and added to its input."""
    c = card.config
    y = layer_norm(x, f"{name}.norm1", card.norm_eps)
    y = layers.Dense(3 * card.feature_dim, use_bias=c["qkv_bias"], name=f"{name}.attn.qkv")(y)
    y = Attention(c["heads"], name=f"{name}.attn")(y)
    y = dropout(layers.Dense(card.feature_dim, name=f"{name}.attn.proj")(y), f"{name}.attn.proj_drop")
    y = stochastic_depth(scaled(y, f"{name}.ls1", card), f"{name}.1", share)
    x = layers.Add(name=f"{name}.add1")([x, y])
    y = mlp(layer_norm(x, f"{name}.norm2", card.norm_eps), f"{name}.mlp", card)
    y = stochastic_depth(scaled(y, f"{name}.ls2", card), f"{name}.2", share)
    return layers.Add(name=f"{name}.add2")([x, y])


def mlp(x: Any, name: str, card: Card, *, drops: bool = True) -> Any:
    """Two dense layers with an activation between them; that of an attention pool has no dropout."""
    x = layers.Dense(card.config["mlp"], name=f"{name}.fc1")(x)
    x = ACTIVATIONS[card.config["activation"]](x, f"{name}.act")
    x = layers.Dense(card.feature_dim, name=f"{name}.fc2")(dropout(x, f"{name}.drop1") if drops else x)
    return dropout(x, f"{name}.drop2") if drops else x


def scaled(x: Any, name: str, card: Card) -> Any:
    """Each channel times a learned factor, if the card says so."""
    return LayerScale(name=name)(x) if card.config["layer_scale"] else x


def pool(x: Any, card: Card) -> Any:
    """The class token (N, D), or the mean of all tokens that are patches."""
    c = card.config
    if c["pool"] == "token":
        return x[:, 0]
    prefix = c["class_token"] + c["registers"]
    return layers.GlobalAveragePooling1D(name="avgpool")(x[:, prefix:] if prefix else x)


def attention_pool(x: Any, name: str, card: Card) -> Any:
    """Attention of one learned query to all tokens, and an MLP (Zhai et al. 2021, arXiv:2106.04560): (N, D)."""
    width = card.feature_dim
    latent = Tokens(variable="latent", alone=True, name=name)(x)
    query = layers.Dense(width, name=f"{name}.q")(latent)
    both = layers.Dense(2 * width, name=f"{name}.kv")(x)
    y = QueryAttention(card.config["heads"], name=f"{name}.attention")([query, both])
    y = layers.Dense(width, name=f"{name}.proj")(y)
    z = mlp(layer_norm(y, f"{name}.norm", card.norm_eps), f"{name}.mlp", card, drops=False)
    return layers.Add(name=f"{name}.add")([y, z])[:, 0]
