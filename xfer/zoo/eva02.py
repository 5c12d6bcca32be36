"""timm's EVA-02: Fang et al. 2023 (arXiv:2303.11331), and its image towers of EVA-CLIP (arXiv:2303.15389).

A vision transformer with rotary position embeddings beside the learned ones (Su et al. 2021, arXiv:2104.09864), MLPs
with a SwiGLU (Shazeer 2020, arXiv:2002.05202), and in the larger ones a normalisation inside of each MLP, in EVA-CLIP
of attention too (sub-LN, Wang et al. 2022, arXiv:2210.06423). The table `eva02.json` is of timm's package data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xfer.zoo.card import Card
from xfer.zoo.published import timm_published, timm_table

TRAINED_SIDE = 16  # patches a side for which the rotary embeddings were made: 224 pixels of 14, or 256 of 16
TEMPERATURE = 10_000.0


def rotary(side: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Sines and cosines of the angles by which the channels of queries and keys are turned, pair by pair.

    The first half of a head's channels is turned by the row of a patch, the second by its column, each pair at another
    frequency. Places of another number of patches are scaled to those of 16 x 16.

    Args:
        side: patches a side.
        width: channels of a head, a multiple of 4.

    Returns:
        Two arrays (side * side, width), float64; timm computes them in float32.
    """
    bands = width // 4
    frequencies = TEMPERATURE ** (-np.arange(bands) / bands)
    angles = np.arange(side)[:, None] * (TRAINED_SIDE / side) * frequencies
    grid = (side, side, bands)
    rows, columns = np.broadcast_to(angles[:, None], grid), np.broadcast_to(angles[None, :], grid)
    both = np.concatenate([rows, columns], axis=-1).reshape(side * side, 2 * bands).repeat(2, axis=-1)
    return np.sin(both), np.cos(both)


def config(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the builders need, from the arguments of timm's `Eva`: those that differ from its defaults."""
    pool = arguments.get("global_pool", "avg")
    return {
        "patch": arguments["patch_size"],
        "depth": arguments["depth"],
        "heads": arguments["num_heads"],
        "mlp": int(arguments["embed_dim"] * arguments["mlp_ratio"]),
        "pool": pool,
        "class_token": True,
        "registers": 0,
        "prefix_has_places": True,
        "pre_norm": False,
        "norm_after_pool": pool == "avg",
        "fused": arguments.get("qkv_fused", True),
        "attention_norm": arguments.get("scale_attn_inner", False),
        "mlp_norm": arguments.get("scale_mlp", False),
        "stochastic_depth": 0.0,
    }


def card(name: str, arguments: Mapping[str, Any], parameters: int, weights: Mapping[str, Mapping[str, Any]]) -> Card:
    """The card of a network, from the arguments of timm's `Eva`; see `config`."""
    found = config(arguments)
    layers = {f"layer{i}": (f"blocks.{i}",) for i in range(found["depth"])}
    return Card(
        name=name,
        family="eva02",
        blocks={
            "stem": ("patch_embed", "cls_token", "pos_embed"),
            **layers,
            "norm": ("fc_norm" if found["norm_after_pool"] else "norm",),
        },
        head="head",
        feature_dim=arguments["embed_dim"],
        config=found,
        parameters=parameters,
        norm_eps=arguments["eps"],
        positions={"pos_embed": 1},
        prefix_tokens=1,
        # With the class token as the features, the last layer adds to it what it reads in the other tokens.
        token_block=f"layer{found['depth'] - (2 if found['pool'] == 'token' else 1)}",
        size_multiple=found["patch"],
        source=f"https://arxiv.org/abs/{'2303.15389' if 'clip' in name else '2303.11331'}",
        **timm_published(name, weights),
    )


CARDS = tuple(
    card(name, row["arguments"], row["parameters"], row["weights"]) for name, row in timm_table("eva02").items()
)
