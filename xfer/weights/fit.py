"""Checking the tensors of a file against those of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from xfer.errors import WeightsError

_SHOWN = 3
_FEW = 3  # tensors that differ: of more, another architecture may be meant
# What torch keeps beside weights and statistics: counters, tables that the architecture alone decides, and the token
# of hidden patches in the training of DINOv2 and MAE.
BESIDE = ("num_batches_tracked", "relative_position_index", "relative_coords_table", "attn_mask", "mask_token")


def fit(
    arrays: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    source: str,
    model: str,
    head: str,
    hint: Callable[[], str] = str,
) -> dict[str, np.ndarray]:
    """The tensors that a model wants, checked one by one; float16 is widened to float32.

    Args:
        arrays: tensors of a file by canonical name; torch's counters and constant tables are left out.
        shapes: the model's tensors.
        source: of the arrays, for messages.
        model: the architecture's name, for messages.
        head: canonical name of the classifier.
        hint: what to say at the end where several tensors are missing, unknown or of other shapes.

    Raises:
        WeightsError: of another architecture; missing, extra or differently shaped tensors; values that are not finite.
    """
    given = {name: array for name, array in arrays.items() if not name.endswith(BESIDE)}
    missing = [name for name in shapes if name not in given]
    extra = [name for name in given if name not in shapes]
    wrong = [
        f"{name} {tuple(given[name].shape)} for {shape}"
        for name, shape in shapes.items()
        if name in given and tuple(given[name].shape) != shape
    ]
    if len(missing) * 2 > len(shapes):
        common = sum(name in given for name in shapes if not name.startswith(f"{head}."))
        raise WeightsError(
            f"{source} is not a {model}: only {common} of its {len(shapes)} tensors are there; it lacks "
            f"{_some(missing)} and begins with {_some(list(given))}{hint()}"
        )
    advice = hint if len(missing) + len(extra) + len(wrong) > _FEW else str
    if missing and all(name.startswith(f"{head}.") for name in missing):
        raise WeightsError(f"{source} has no head ({_some(missing)}): give classes= for a new one")
    if missing:
        raise WeightsError(
            f"{source} lacks {len(missing)} tensors of {model}: {_some(missing)}; is the file complete?{advice()}"
        )
    if extra:
        raise WeightsError(f"{source} has {len(extra)} tensors that {model} does not know: {_some(extra)}{advice()}")
    if wrong:
        raise WeightsError(f"{source} has {len(wrong)} tensors of other shapes than {model}: {_some(wrong)}{advice()}")
    broken = [name for name in shapes if not np.isfinite(given[name]).all()]
    if broken:
        raise WeightsError(f"{source} has NaN or infinity in {len(broken)} tensors: {_some(broken)}")
    return {name: _wide(given[name]) for name in shapes}


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _some(names: list[str]) -> str:
    return ", ".join(name[:100] for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
