"""Learning rates by block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from xfer.errors import UnknownNameError, UsageError

DECAY_PER_BLOCK = 2.6  # Howard & Ruder 2018 (arXiv:1801.06146): each lower layer's rate is the one above over 2.6

Rates = float | Mapping[str, float]


def block_rates(rates: Rates, blocks: Sequence[str]) -> dict[str, float]:
    """One base learning rate for every block.

    Args:
        rates: one number for all, or numbers by block name. A block that is not named gets the rate of the nearest
            named block above it (nearer the head), the topmost ones that of the nearest below.
        blocks: the model's blocks in order, input first.

    Raises:
        UsageError: a rate that is not a positive finite number. UnknownNameError: a block that is not in `blocks`.
    """
    named = dict(rates) if isinstance(rates, Mapping) else {blocks[-1]: float(rates)}
    for block, rate in named.items():
        if block not in blocks:
            raise UnknownNameError("block", block, blocks)
        if not (rate > 0 and math.isfinite(rate)):
            raise UsageError(f"learning rate {rate!r} for block {block!r}: give a positive number such as 1e-3")
    if not named:
        raise UsageError("no learning rate given: pass a number, or numbers by block name")
    result: dict[str, float] = {}
    current = next(named[b] for b in reversed(blocks) if b in named)
    for block in reversed(blocks):
        current = named.get(block, current)
        result[block] = float(current)
    return {block: result[block] for block in blocks}


def lower_rates(head: float, blocks: Sequence[str]) -> dict[str, float]:
    """A rate for the head, and `DECAY_PER_BLOCK` times less for each block below."""
    return {block: head / DECAY_PER_BLOCK**depth for depth, block in enumerate(reversed(blocks))}
