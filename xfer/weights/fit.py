"""Checking the tensors of a file against those of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from xfer.errors import WeightsError

_SHOWN = 3
_DEPTH = 4  # of the names of wrappers
_HEADS = ("fc", "classifier", "head", "heads")
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
    if missing and all(name.startswith(_outer(missing)) for name in missing) and _outer(missing) in _HEADS:
        raise WeightsError(f"{source} has no head ({_some(missing)}): give classes= for a new one")
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


def without_prefix(arrays: Mapping[str, np.ndarray], known: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """The tensors without what wrappers put before their names: `module.`, `_orig_mod.`, `model.`, `backbone.net.`, ...

    Where a prefix is there, what does not begin with it belongs to the wrapper (`n_averaged` of torch's averages).

    Args:
        arrays: by name.
        known: whether a name may be one of the network's.
    """
    parts = (name.split(".") for name in arrays)
    prefixes = dict.fromkeys(".".join(each[:depth]) for each in parts for depth in range(min(len(each), _DEPTH)))
    for prefix in sorted(prefixes, key=len):
        start = f"{prefix}." if prefix else ""
        inner = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
        if sum(map(known, inner)) * 2 > len(arrays):
            return inner
    return dict(arrays)


def _outer(names: list[str]) -> str:
    return names[0].partition(".")[0]


def _some(names: list[str]) -> str:
    return ", ".join(name[:100] for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
