"""EVA-02 with timm's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.families.timm_vit import vision_transformer
from xfer_keras_nets.layers import layer_norm, silu, stochastic_depth
from xfer_keras_nets.rotary import RotaryAttention


def eva02(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Fang et al. 2023 (arXiv:2303.11331): a vision transformer with rotary embeddings, SwiGLU and sub-LN."""
    return vision_transformer(x, card, block)


def block(x: Any, name: str, share: float, card: Card) -> Any:
    """Attention, then an MLP on each token; each normalised before, and added to its input."""
    y = attention(layer_norm(x, f"{name}.norm1", card.norm_eps), f"{name}.attn", card)
    y = stochastic_depth(y, f"{name}.1", share)
    x = layers.Add(name=f"{name}.add1")([x, y])
    y = swiglu(layer_norm(x, f"{name}.norm2", card.norm_eps), f"{name}.mlp", card)
    y = stochastic_depth(y, f"{name}.2", share)
    return layers.Add(name=f"{name}.add2")([x, y])


def attention(x: Any, name: str, card: Card) -> Any:
    """Softmax attention of all tokens to each other, with rotary embeddings and without a bias of keys."""
    width, c = card.feature_dim, card.config
    if c["fused"]:
        y = layers.Dense(3 * width, use_bias=False, name=f"{name}.qkv")(x)
    else:
        parts = [layers.Dense(width, use_bias=part != "k", name=f"{name}.{part}_proj")(x) for part in "qkv"]
        y = layers.Concatenate(name=f"{name}.qkv")(parts)
    side = c["size"] // c["patch"]
    y = RotaryAttention(c["heads"], side, prefix=card.prefix_tokens, biases=c["fused"], name=name)(y)
    if c["attention_norm"]:
        y = layer_norm(y, f"{name}.norm", card.norm_eps)
    return layers.Dense(width, name=f"{name}.proj")(y)


def swiglu(x: Any, name: str, card: Card) -> Any:
    """A hidden layer times another that goes through SiLU (arXiv:2002.05202), normalised if the card says so."""
    hidden, normalised = card.config["mlp"], card.config["mlp_norm"]
    if normalised:
        gate, y = (layers.Dense(hidden, name=f"{name}.fc1_{part}")(x) for part in "gx")
    else:
        both = layers.Dense(2 * hidden, name=f"{name}.fc1")(x)
        gate, y = both[..., :hidden], both[..., hidden:]
    y = layers.Multiply(name=f"{name}.gated")([silu(gate, f"{name}.act"), y])
    if normalised:
        y = layer_norm(y, f"{name}.norm", card.norm_eps)
    return layers.Dense(card.feature_dim, name=f"{name}.fc2")(y)
