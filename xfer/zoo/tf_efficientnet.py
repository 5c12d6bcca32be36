"""timm's EfficientNets with the weights of TensorFlow: B0 to B8, and EfficientNet v2.

Tan & Le 2019 (arXiv:1905.11946) and 2021 (arXiv:2104.00298); weights trained with AutoAugment (`aa_in1k`,
arXiv:1805.09501), RandAugment (`ra_in1k`, arXiv:1909.13719), AdvProp (`ap_in1k`, arXiv:1911.09665) and Noisy Student
(`ns_jft_in1k`, arXiv:1911.04252). Padding is TensorFlow's "SAME", and batch normalisation has its epsilon. The table
`tf_efficientnet.json` is of timm's package data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xfer.zoo import timm_blocks
from xfer.zoo.card import Card
from xfer.zoo.published import timm_published, timm_table


def blocks_of(stages: timm_blocks.Stages) -> dict[str, tuple[str, ...]]:
    """The layers of each block by name prefix."""
    middle = {f"stage{i}": (f"blocks.{i}",) for i in range(len(stages))}
    return {"stem": ("conv_stem", "bn1"), **middle, "top": ("conv_head", "bn2")}


def card(name: str, arguments: Mapping[str, Any], parameters: int, weights: Mapping[str, Mapping[str, Any]]) -> Card:
    """The card of a network, from the arguments of timm's `EfficientNet`; see `timm_blocks.timm_config`."""
    config = timm_blocks.timm_config(arguments, "same")
    return Card(
        name=name,
        family="tf_efficientnet",
        blocks=blocks_of(config["stages"]),
        head="classifier",
        feature_dim=config["top"],
        config=config,
        parameters=parameters,
        norm_eps=arguments["eps"],
        source=f"https://arxiv.org/abs/{'2104.00298' if 'v2' in name else '1905.11946'}",
        **timm_published(name, weights),
    )


CARDS = tuple(
    card(name, row["arguments"], row["parameters"], row["weights"])
    for name, row in timm_table("tf_efficientnet").items()
)
