"""A network small enough to follow by hand: for tests, teaching and a third implementation in NumPy."""

from __future__ import annotations

from xfer.specs.preprocessing import Preprocessing
from xfer.zoo.card import Card

CARDS = (
    Card(
        name="tiny",
        family="tiny",
        blocks={"stem": ("conv1", "bn1"), "layer1": ("layer1",)},
        head="fc",
        feature_dim=16,
        preprocessing=Preprocessing(size=32, resize=32),
        weights=(),
        config={"widths": (8, 16)},
        parameters=18_416,
        source="two 3x3 stride-2 convolutions with batch norm and ReLU, global average pooling, linear",
    ),
)
