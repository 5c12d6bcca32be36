"""Diagnosis of numbers that are not finite: the first block, the samples, and what to do, in one line.

Looked for when a step has refused its update (`Stepper.step`), or when answers are not finite, so it costs nothing
while all is well. The forward pass is looked at in inference mode, in which samples do not mix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xfer.data import Batch
from xfer.models.base_model import BaseModel
from xfer.models.finite import first_bad_block, which_samples
from xfer.models.stepper import Stepper
from xfer.runtime.distributed import DistributedContext
from xfer.specs.inputs import Inputs

_AT_ONCE = 32  # samples of which the outputs of all blocks are held

_NOWHERE = 1 << 30

LONE = "batch normalisation cannot be trained on one image at a time: give more, or call model.freezer.freeze_norm()"


class _Finding(NamedTuple):
    """What is not finite, in words; of which rows, bool (N,); how early in the pass; a remedy of its own, if any."""

    what: str
    rows: np.ndarray
    place: int = 0
    remedy: str = ""


def of_step(stepper: Stepper, batch: Batch, names: Sequence[str], seed: int, distributed: DistributedContext) -> str:
    """Why a step refused its update, of which samples, and what to do. In a run of several processes, all call it.

    Args:
        stepper: which has changed nothing.
        batch: as the step saw it.
        names: of all samples of the split.
        seed: of the step.
        distributed: the processes that share the batch.
    """
    found = (
        _in_data_or_weights(stepper.model, batch)
        or _in_pass(stepper, batch, distributed)
        or _lone(stepper, batch)
        or _back(stepper, batch, seed)
    )
    listed = [names[index] for index in batch.indices[found.rows]]
    remedy = found.remedy or _remedy(stepper, whole=bool(found.rows.all()))
    return f"{found.what} {which_samples(listed, len(batch))}; the update was not made; {remedy}"


def is_lone(stepper: Stepper, batch: Batch, distributed: DistributedContext) -> bool:
    """Whether a step has refused its update because of one image alone, which has no batch statistics.

    In a run of several processes, all call it.
    """
    if len(batch) > 1 or _in_data_or_weights(stepper.model, batch) or not _live_norms(stepper.model):
        return False
    return _in_pass(stepper, batch, distributed) is None


def _lone(stepper: Stepper, batch: Batch) -> _Finding | None:
    """A piece of one image, where statistics of normalisation are trained."""
    micro_batches = [batch] if batch.shards else batch.inputs.micro_batches(stepper.micro_batch_size)
    sizes = [len(each) for each in micro_batches]
    if 1 not in sizes or not _live_norms(stepper.model):
        return None
    remedy = "call model.freezer.freeze_norm(), or give smaller images" if len(batch) > 1 else LONE
    return _Finding("batch statistics of one image are undefined", np.ones(len(batch), bool), remedy=remedy)


def _live_norms(model: BaseModel) -> bool:
    frozen = set(model.freezer.frozen())
    return any(name.endswith(".running_mean") and name not in frozen for name in model.shapes())


def _in_data_or_weights(model: BaseModel, batch: Batch) -> _Finding | None:
    """What every process of a run sees alike."""
    if batch.labels.ndim == 2 and np.isinf(batch.labels).any():  # NaN says that there is none
        return _Finding("labels are infinite", np.isinf(batch.labels).any(axis=1), remedy="mend or remove them")
    if block := first_bad_block(model):
        remedy = "go back to good weights, and lower lr"
        return _Finding(f"weights of block {block!r} are not finite", np.ones(len(batch), bool), remedy=remedy)
    return None


def _in_pass(stepper: Stepper, batch: Batch, distributed: DistributedContext) -> _Finding | None:
    """The first stage of the forward pass with an output that is not finite."""
    own = _in_own_pass(stepper.model, batch.inputs, min(stepper.micro_batch_size or _AT_ONCE, _AT_ONCE))
    parts = distributed.gather(own, "search for numbers that are not finite")
    first = min(parts, key=lambda part: part.place)
    return None if first.place == _NOWHERE else first._replace(rows=np.concatenate([part.rows for part in parts]))


def _in_own_pass(model: BaseModel, inputs: Inputs, micro_batch_size: int) -> _Finding:
    given = [("columns are", inputs.columns), (f"outputs of {inputs.after!r}, which were given, are", inputs.values)]
    for what, array in given:
        if array is not None and (rows := _bad_rows(array)).any():
            return _Finding(f"{what} not finite", rows, 0, "mend or remove them")
    stages = model.stages_after(inputs.after)
    rows, place, at = np.zeros(len(inputs), bool), _NOWHERE, 0
    for micro_batch in inputs.micro_batches(micro_batch_size):
        outputs = model.outputs(micro_batch, stages)
        for i, stage in enumerate(stages, 1):
            bad = _bad_rows(outputs[stage])
            rows[at : at + len(micro_batch)] |= bad
            place = min(place, i) if bad.any() else place
        at += len(micro_batch)
    return _Finding(_outputs_of(stages[place - 1]) if rows.any() else "", rows, place)


def _back(stepper: Stepper, batch: Batch, seed: int) -> _Finding:
    """The block that the backward pass reaches first in which a gradient is not finite."""
    model = stepper.model
    gradients = stepper.gradients(batch.inputs, batch.labels, seed)
    bad = {model.card.block_of(name) for name, array in gradients.items() if not np.isfinite(array).all()}
    what = "the loss, or the norm of the gradients, is too large a number"
    if bad:
        what = f"gradients of block {max(bad, key=model.blocks.index)!r} are not finite"
    return _Finding(what, np.ones(len(batch), bool))


def _bad_rows(array: np.ndarray) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating):
        return np.zeros(len(array), bool)
    return np.asarray(~np.isfinite(array).all(axis=tuple(range(1, array.ndim))))


def _outputs_of(stage: str) -> str:
    return "features are not finite" if stage == "features" else f"outputs of block {stage!r} are not finite"


def _remedy(stepper: Stepper, *, whole: bool) -> str:
    found = ["lower lr"] if whole else ["check these samples", "lower lr"]
    found += ["set clip_norm=1.0"] if stepper.update.clip_norm is None else []
    found += ["give precision='fp32'"] if stepper.model.spec.precision == "bf16" else []
    return f"{', '.join(found[:-1])} or {found[-1]}" if len(found) > 1 else found[0]
