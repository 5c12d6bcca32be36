"""timm's MobileNet v4: Qin et al. 2024, "MobileNetV4: Universal Models for the Mobile Ecosystem" (arXiv:2404.10518).

The hybrids have blocks of multi-query attention (Shazeer 2019, arXiv:1911.02150) between those of convolutions. The
table `mobilenet_v4.json` is of timm's package data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xfer.zoo import timm_blocks
from xfer.zoo.card import Card
from xfer.zoo.published import timm_published, timm_table


def card(name: str, arguments: Mapping[str, Any], parameters: int, weights: Mapping[str, Mapping[str, Any]]) -> Card:
    """The card of a network, from the arguments of timm's `MobileNetV3`; see `timm_blocks.timm_config`."""
    config = timm_blocks.timm_config(arguments, "symmetric")
    stages = {f"stage{i}": (f"blocks.{i}",) for i in range(len(config["stages"]))}
    return Card(
        name=name,
        family="mobilenet_v4",
        blocks={"stem": ("conv_stem", "bn1"), **stages, "top": ("conv_head", "norm_head")},
        head="classifier",
        feature_dim=config["top"],
        config=config,
        parameters=parameters,
        norm_eps=arguments["eps"],
        source="https://arxiv.org/abs/2404.10518",
        **timm_published(name, weights),
    )


CARDS = tuple(
    card(name, row["arguments"], row["parameters"], row["weights"]) for name, row in timm_table("mobilenet_v4").items()
)
