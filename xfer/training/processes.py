"""Checks before a fit in several processes."""

from __future__ import annotations

from collections.abc import Mapping

from xfer.errors import UsageError
from xfer.models.backend import get_backend
from xfer.models.base_model import BaseModel
from xfer.models.network import layer_of
from xfer.runtime.distributed import DistributedContext
from xfer.runtime.files import tensors_digest


def check_alike(distributed: DistributedContext, model: BaseModel, described: Mapping[str, str]) -> None:
    """Refuse what several processes would not compute as one does.

    Args:
        described: what must be the same in all, by name.

    Raises:
        UsageError: batch normalisation that is trained and cannot be synchronised, or processes that have different
        weights or whatever else `described` names.
    """
    if distributed.size == 1:
        return
    trained = {layer_of(name) for name in model.trainable}
    live = [layer_of(name) for name in model.shapes() if name.endswith(".running_mean") and layer_of(name) in trained]
    for layer in get_backend(model.backend).unsynchronised(model, live):
        of_head = model.card.place_of(layer) == "head"
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
