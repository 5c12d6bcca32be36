"""timm's vision transformers: AugReg, DeiT, DeiT 3, DINO, DINOv2, CLIP's and SigLIP's image towers, and others.

What differs between them is in the table `timm_vit.json`, which is of timm's package data: arguments of its
`VisionTransformer`, numbers of parameters, and published weights, by its names. Left out are weights that are not on
the hub or have no licence, those whose images timm squeezes into a square, and those of OpenAI and MetaCLIP under
architectures with another activation than the one that they were trained with (`clip_quickgelu` has theirs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xfer.zoo.card import Card
from xfer.zoo.published import timm_published, timm_table

VIT = "https://arxiv.org/abs/2010.11929"
SOURCES = {  # by a part of the name, or the beginning of the name of the weights
    "augreg": "https://arxiv.org/abs/2106.10270",
    "deit_": "https://arxiv.org/abs/2012.12877",
    "deit3_": "https://arxiv.org/abs/2204.07118",
    "dino": "https://arxiv.org/abs/2104.14294",
    "dinov2": "https://arxiv.org/abs/2304.07193",
    "reg4_dinov2": "https://arxiv.org/abs/2309.16588",
    "clip": "https://arxiv.org/abs/2103.00020",
    "siglip": "https://arxiv.org/abs/2303.15343",
}


def config(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the builders need, from the arguments of timm's `VisionTransformer`.

    Args:
        arguments: those that differ from timm's defaults; `eps` and `act` are of its normalisation and activation.
    """
    pool = arguments.get("global_pool", "token")
    return {
        "patch": arguments["patch_size"],
        "depth": arguments["depth"],
        "heads": arguments["num_heads"],
        "mlp": int(arguments["embed_dim"] * arguments.get("mlp_ratio", 4.0)),
        "pool": pool,
        "class_token": arguments.get("class_token", True),
        "registers": arguments.get("reg_tokens", 0),
        "prefix_has_places": not arguments.get("no_embed_class", False),
        "pre_norm": arguments.get("pre_norm", False),
        "norm_after_pool": arguments.get("fc_norm", pool == "avg"),
        "layer_scale": "init_values" in arguments,
        "qkv_bias": arguments.get("qkv_bias", True),
        "activation": arguments.get("act", "gelu"),
        "stochastic_depth": 0.0,
        "dropout": 0.0,
    }


def card(name: str, arguments: Mapping[str, Any], parameters: int, weights: Mapping[str, Mapping[str, Any]]) -> Card:
    """The card of a vision transformer of timm; see `config`."""
    found = config(arguments)
    blocks: dict[str, tuple[str, ...]] = {"stem": ("patch_embed", "cls_token", "reg_token", "pos_embed", "norm_pre")}
    blocks |= {f"layer{i}": (f"blocks.{i}",) for i in range(found["depth"])}
    blocks["norm"] = ("fc_norm",) if found["norm_after_pool"] else ("norm",)
    if found["pool"] == "map":
        blocks["pool"] = ("attn_pool",)
    prefix = found["class_token"] + found["registers"]
    return Card(
        name=name,
        family="timm_vit",
        blocks=blocks,
        head="head",
        feature_dim=arguments["embed_dim"],
        config=found,
        parameters=parameters,
        norm_eps=arguments["eps"],
        positions={"pos_embed": prefix if found["prefix_has_places"] else 0},
        prefix_tokens=prefix,
        # With a class token as the features, the last layer adds to it what it reads in the other tokens.
        token_block=f"layer{found['depth'] - (2 if found['pool'] == 'token' else 1)}",
        size_multiple=found["patch"],
        source=_source(name, tuple(weights)),
        **timm_published(name, weights),
    )


def _source(name: str, tags: tuple[str, ...]) -> str:
    """The paper of the best weights, or of the architecture."""
    keys = [key for key in SOURCES if key in name or tags[0].startswith(key)]
    return SOURCES[max(keys, key=len)] if keys else VIT


CARDS = tuple(
    card(name, row["arguments"], row["parameters"], row["weights"]) for name, row in timm_table("timm_vit").items()
)
