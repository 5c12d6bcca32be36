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


def decayed_rates(rates: Rates, depths: Mapping[str, int], decay: float | None) -> dict[str, float]:
    """Rates by block, with layer-wise decay (Bao et al. 2021, arXiv:2106.08254): that of the head times decay**depth.

    Args:
        rates: as in `block_rates`; with a decay, one number.
        depths: of every block, input first, how many layers below the head it is.
        decay: the factor from layer to layer; None for the rates as they are.

    Raises:
        UsageError, UnknownNameError: as `block_rates`; or rates by block beside a decay.
    """
    found = block_rates(rates, tuple(depths))
    if decay is None:
        return found
    if isinstance(rates, Mapping):
        raise UsageError(
            f"learning rates by block are given beside layer_decay={decay}: give one rate, or no layer_decay"
        )
    return {block: rate * decay ** depths[block] for block, rate in found.items()}
