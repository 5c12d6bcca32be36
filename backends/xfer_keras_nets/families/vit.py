"""Vision transformer, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer.zoo.depth import depth_share
from xfer_keras_nets.attention import Attention, ClassToken, InProjection, PositionEmbedding
from xfer_keras_nets.layers import conv, dropout, gelu, layer_norm, stochastic_depth


def vit(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Dosovitskiy et al. 2020 (arXiv:2010.11929)."""
    patch, width = card.config["patch"], card.feature_dim
    x = conv(x, "conv_proj", width, patch, patch, bias=True)
    x = layers.Reshape((-1, width), name="patches")(x)
    yield "stem", (x := PositionEmbedding(name="encoder")(ClassToken(name="class_token")(x)))
    for i in range(card.config["depth"]):
        share = depth_share(i, card.config["depth"])
        yield f"layer{i}", (x := encoder_layer(x, f"encoder.layers.encoder_layer_{i}", share, card))
    yield "norm", (x := layer_norm(x, "encoder.ln", card.norm_eps))
    yield "features", x[:, 0]


def encoder_layer(x: Any, name: str, share: float, card: Card) -> Any:
    """Attention, then an MLP on each token; each normalised before and added to its input."""
    y = InProjection(name=f"{name}.self_attention")(layer_norm(x, f"{name}.ln_1", card.norm_eps))
    y = Attention(card.config["heads"], name=f"{name}.attention")(y)
    y = layers.Dense(card.feature_dim, name=f"{name}.self_attention.out_proj")(y)
    y = stochastic_depth(dropout(y, f"{name}.dropout"), f"{name}.1", share)
    x = layers.Add(name=f"{name}.add_1")([y, x])
    y = layers.Dense(card.config["mlp"], name=f"{name}.mlp.0")(layer_norm(x, f"{name}.ln_2", card.norm_eps))
    y = dropout(gelu(y, f"{name}.mlp.1"), f"{name}.mlp.2")
    y = dropout(layers.Dense(card.feature_dim, name=f"{name}.mlp.3")(y), f"{name}.mlp.4")
    y = stochastic_depth(y, f"{name}.2", share)
    return layers.Add(name=f"{name}.add_2")([x, y])
