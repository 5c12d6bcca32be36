"""timm's ConvNeXt v2: Woo et al. 2023, "Co-designing and Scaling ConvNets with Masked Autoencoders" (arXiv:2301.00808).

The table `convnext_v2.json` is of timm's package data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xfer.zoo.card import Card
from xfer.zoo.published import timm_published, timm_table


def card(name: str, arguments: Mapping[str, Any], parameters: int, weights: Mapping[str, Mapping[str, Any]]) -> Card:
    """The card of a network, from the arguments of timm's `ConvNeXt`.

    Args:
        name: of the architecture.
        arguments: `depths`, `dims`, and whether the layers of its MLPs are convolutions of one pixel (`conv_mlp`).
        parameters: with ImageNet's head.
        weights: rows of the table by tag.
    """
    return Card(
        name=name,
        family="convnext_v2",
        blocks={"stem": ("stem",), **{f"stage{i}": (f"stages.{i - 1}",) for i in (1, 2, 3, 4)}, "norm": ("head.norm",)},
        head="head.fc",
        feature_dim=arguments["dims"][-1],
        config={
            "depths": tuple(arguments["depths"]),
            "widths": tuple(arguments["dims"]),
            "convolutions": arguments.get("conv_mlp", False),
        },
        parameters=parameters,
        norm_eps=1e-6,
        size_smallest=32,
        source="https://arxiv.org/abs/2301.00808",
        **timm_published(name, weights),
    )


CARDS = tuple(
    card(name, row["arguments"], row["parameters"], row["weights"]) for name, row in timm_table("convnext_v2").items()
)
