"""GoogLeNet: Szegedy et al. 2014, "Going Deeper with Convolutions" (arXiv:1409.4842), with batch norm."""

from __future__ import annotations

from xfer.zoo.card import Auxiliary, Card
from xfer.zoo.published import published

# Channels of each inception module: 1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5, and after the pool.
_MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}

CARDS = (
    Card(
        name="googlenet",
        family="googlenet",
        blocks={
            "stem": ("conv1", "conv2", "conv3"),
            "inception3": ("inception3a", "inception3b"),
            "inception4a": ("inception4a", "aux1"),
            "inception4d": ("inception4b", "inception4c", "inception4d", "aux2"),
            "inception4e": ("inception4e",),
            "inception5": ("inception5a", "inception5b"),
        },
        head="fc",
        feature_dim=1024,
        config={"modules": _MODULES},
        parameters=6_624_904,
        norm_eps=1e-3,
        auxiliary=(
            Auxiliary("aux1", after="inception4a", head="aux1.fc2", feature_dim=1024, weight=0.3),
            Auxiliary("aux2", after="inception4d", head="aux2.fc2", feature_dim=1024, weight=0.3),
        ),
        size_smallest=15,
        source="https://arxiv.org/abs/1409.4842",
        # torchvision's `transform_input` turns its usual normalisation into this one, which the weights come from.
        **published(("IMAGENET1K_V1", "googlenet-1378be20", 69.778, 256), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    ),
)
