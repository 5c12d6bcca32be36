"""AlexNet: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks" (arXiv:1404.5997)."""

from __future__ import annotations

from xfer.zoo.card import Card
from xfer.zoo.published import published

CARDS = (
    Card(
        name="alexnet",
        family="alexnet",
        blocks={
            **{f"block{i}": (f"features.{index}",) for i, index in enumerate((0, 3, 6, 8, 10), 1)},
            "classifier": ("classifier.1", "classifier.4"),
        },
        head="classifier.6",
        feature_dim=4096,
        config={"dropout": 0.5},
        parameters=61_100_840,
        size_smallest=63,
        source="https://arxiv.org/abs/1404.5997",
        **published(("IMAGENET1K_V1", "alexnet-owt-7be5be79", 56.522, 256)),
    ),
)
