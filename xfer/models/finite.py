"""Refusing predictions that are not finite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xfer.errors import NumbersError
from xfer.models.network import Network

_SHOWN = 3  # names in a line


def check_predictions(model: Network, logits: np.ndarray, names: Sequence[str]) -> None:
    """Refuse logits (N, K) that are not finite; no metric of them means anything.

    Args:
        model: the model.
        logits: its logits.
        names: of the samples.

    Raises:
        NumbersError: NaN or infinity.
    """
    bad = ~np.isfinite(logits).all(axis=1)
    if not bad.any():
        return
    listed = [names[index] for index in np.flatnonzero(bad).tolist()]
    block = first_bad_block(model)
    why = f"weights of block {block!r} are not finite: load another checkpoint" if block else "check these samples"
    if not block and model.spec.precision == "bf16":
        why += ", or give precision='fp32'"
    raise NumbersError(f"the logits of {model.name} are not finite {which_samples(listed, len(names))}; {why}")


def first_bad_block(model: Network) -> str | None:
    """The first block with a tensor that is not finite."""
    for name in model.shapes():
        if not np.isfinite(model.read([name])[name]).all():
            return model.card.block_of(name)
    return None


def which_samples(listed: Sequence[str], number: int) -> str:
    """Which samples: "in 2 of 32 samples: a.png, b.png"."""
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    which = f"all {number}" if len(listed) == number else f"{len(listed)} of {number}"
    return f"in {which} samples: {', '.join(listed[:_SHOWN])}{more}"
