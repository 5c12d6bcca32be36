"""Inception v3: Szegedy et al. 2015, "Rethinking the Inception Architecture" (arXiv:1512.00567)."""

from __future__ import annotations

from xfer.zoo.card import Auxiliary, Card
from xfer.zoo.published import published

CARDS = (
    Card(
        name="inception_v3",
        family="inception",
        blocks={
            "stem": ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
            "mixed5": ("Mixed_5b", "Mixed_5c", "Mixed_5d"),
            "mixed6": ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "AuxLogits"),
            "mixed7": ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
        },
        head="fc",
        feature_dim=2048,
        config={},
        parameters=27_161_264,
        norm_eps=1e-3,
        auxiliary=(
            # Its 5x5 convolution needs the map that an input of 299 pixels gives.
            Auxiliary("AuxLogits", "mixed6", "AuxLogits.fc", feature_dim=768, weight=0.4, smallest=299),
        ),
        size_smallest=75,
        source="https://arxiv.org/abs/1512.00567",
        # torchvision's `transform_input` turns its usual normalisation into this one, which the weights come from.
        **published(
            ("IMAGENET1K_V1", "inception_v3_google-0cc3c7bd", 77.294, 342, 299),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
    ),
)
