"""timm's ResNet-D: He et al. 2018 (arXiv:1812.01187), and ResNet-RS: Bello et al. 2021 (arXiv:2103.07579).

Three convolutions of 3 x 3 pixels instead of one of 7 x 7, and shortcuts that average before they project. ResNet-RS
has squeeze-and-excitation too, and a convolution instead of the pooling. The table `resnet_d.json` is of timm's package
data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xfer.zoo.card import Card
from xfer.zoo.published import timm_published, timm_table


def card(name: str, arguments: Mapping[str, Any], parameters: int, weights: Mapping[str, Mapping[str, Any]]) -> Card:
    """The card of a network, from the arguments of timm's `ResNet`.

    Args:
        name: of the architecture.
        arguments: `layers`, `replace_stem_pool`, and whether it has bottlenecks and squeeze-and-excitation.
        parameters: with ImageNet's head.
        weights: rows of the table by tag.
    """
    convolved = arguments.get("replace_stem_pool", False)
    return Card(
        name=name,
        family="resnet_d",
        blocks={
            "stem": ("conv1", "bn1", "maxpool"),
            **{f"layer{i}": (f"layer{i}",) for i in (1, 2, 3, 4)},
        },
        head="fc",
        feature_dim=2048 if arguments["bottleneck"] else 512,
        config={
            "repeats": tuple(arguments["layers"]),
            "bottleneck": arguments["bottleneck"],
            "groups": 1,
            "width": 64,
            "stem": 32,
            "convolved": convolved,
            "squeeze": arguments["squeeze"],
        },
        parameters=parameters,
        source=f"https://arxiv.org/abs/{'2103.07579' if arguments['squeeze'] else '1812.01187'}",
        **timm_published(name, weights),
    )


CARDS = tuple(
    card(name, row["arguments"], row["parameters"], row["weights"]) for name, row in timm_table("resnet_d").items()
)
