"""How the rate of stochastic depth grows over a network."""

from __future__ import annotations


def depth_share(layer: int, layers: int) -> float:
    """The share of the rate that a layer (0-based) of so many has: 0 in the first, 1 in the last, a line between."""
    return layer / (layers - 1) if layers > 1 else 0.0
