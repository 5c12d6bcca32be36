"""Checks before a fit in several processes."""

from __future__ import annotations

from collections.abc import Mapping

from xfer.errors import UsageError
from xfer.models.base_model import BaseModel
from xfer.runtime.distributed import DistributedContext
from xfer.runtime.files import tensors_digest


def check_alike(distributed: DistributedContext, model: BaseModel, described: Mapping[str, str]) -> None:
    """Refuse what several processes would not compute as one does.

    Args:
        described: what must be the same in all, by name.

    Raises:
        UsageError: batch normalisation that is trained, or processes that have different weights or whatever else
        `described` names.
    """
    if distributed.size == 1:
        return
    live = {name.rpartition(".")[0] for name in model.trainable}
    for name in model.shapes():
        layer, _, tensor = name.rpartition(".")
        if tensor == "running_mean" and layer in live:
            of_head = model.card.block_of(name) == "head"
            remedy = "give the head norm='layer'" if of_head else "call model.freezer.freeze_norm(), or --no-train-norm"
            raise UsageError(
                f"batch normalisation {layer!r} is trained, and each of {distributed.size} processes sees its share "
                f"of the batch alone: {remedy}"
            )
    mine = {"weights": tensors_digest(model.weights()), **described}
    for rank, theirs in enumerate(distributed.gather(mine, "beginning of a fit")):
        for name in mine:
            if theirs[name] != mine[name]:
                raise UsageError(
                    f"processes {distributed.rank} and {rank} have different {name}: begin with the same in all"
                )
