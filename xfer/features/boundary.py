"""The last block that is frozen."""

from __future__ import annotations

from xfer.models.base_model import BaseModel


def boundary(model: BaseModel) -> str | None:
    """The last stage before the first in which anything is trained; None where that is the first of all."""
    if model.estimator is not None:  # nothing passes through it to what comes before
        return "features"
    live = {model.card.block_of(name) for name in model.trainable}
    before = None
    for stage in model.stages_after(None):
        if stage in live:
            return before if before in model.entries else None
        before = stage
    return None
