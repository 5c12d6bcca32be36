"""Checking the tensors of a file against those of a network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from xfer.errors import WeightsError

_SHOWN = 3
# What torch keeps beside weights and statistics: counters, and tables that the architecture alone decides.
_BESIDE = ("num_batches_tracked", "relative_position_index", "relative_coords_table")


def fit(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], *, source: str, model: str
) -> dict[str, np.ndarray]:
    """The tensors that a model wants, checked one by one.

    Args:
        arrays: tensors of a file by canonical name; torch's counters and constant tables are left out.
        shapes: the model's tensors.
        source: of the arrays, for messages.
        model: the architecture's name, for messages.

    Raises:
        WeightsError: of another architecture; missing, extra or differently shaped tensors; values that are not finite.
    """
    given = {name: array for name, array in arrays.items() if not name.endswith(_BESIDE)}
    missing = [name for name in shapes if name not in given]
    extra = [name for name in given if name not in shapes]
    if len(missing) * 2 > len(shapes):
        common = len(shapes) - len(missing)
        raise WeightsError(
            f"{source} is not a {model}: only {common} of its {len(shapes)} tensors are there; "
            f"it begins with {_some(list(given))}"
        )
    if missing:
        raise WeightsError(f"{source} lacks {len(missing)} tensors of {model}: {_some(missing)}; is the file complete?")
    if extra:
        raise WeightsError(f"{source} has {len(extra)} tensors that {model} does not know: {_some(extra)}")
    wrong = [f"{n} {tuple(given[n].shape)} for {shapes[n]}" for n in shapes if tuple(given[n].shape) != shapes[n]]
    if wrong:
        raise WeightsError(f"{source} has {len(wrong)} tensors of other shapes than {model}: {_some(wrong)}")
    broken = [name for name in shapes if not np.isfinite(given[name]).all()]
    if broken:
        raise WeightsError(f"{source} has NaN or infinity in {len(broken)} tensors: {_some(broken)}")
    return {name: given[name] for name in shapes}


def _some(names: list[str]) -> str:
    return ", ".join(name[:100] for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
