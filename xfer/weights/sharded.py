"""Reads safetensors that are split over files, by their index (`model.safetensors.index.json` of Hugging Face)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xfer.runtime.strict_json import parse
from xfer.weights.malformed import MalformedError
from xfer.weights.tensors import MAX_HEADER, read_safetensors

_FILES = 1000


def read_sharded(index: Path) -> dict[str, np.ndarray]:
    """The tensors by name, in the order of the index; one file is read after the other.

    Args:
        index: JSON with a `weight_map` from each tensor to the name of its file, which lies in the same folder.

    Returns:
        As `read_safetensors` gives them.

    Raises:
        MalformedError: no such index; a file elsewhere, missing or damaged; a tensor that is not in its file, or one in
            a file that the index does not map to it.
        OSError: a file cannot be read.
    """
    places = _weight_map(index)
    found: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(places.values()):
        arrays = _read(index.with_name(name))
        expected = {tensor for tensor, file in places.items() if file == name}
        if different := arrays.keys() ^ expected:
            raise MalformedError(f"{name} does not have the tensors that the index maps to it: {_some(different)}")
        found |= arrays
    return {tensor: found[tensor] for tensor in places}


def _weight_map(index: Path) -> dict[str, str]:
    if index.stat().st_size > MAX_HEADER:
        raise MalformedError(f"the index has {index.stat().st_size:,} bytes: more than {MAX_HEADER:,} is refused")
    try:
        document = parse(index.read_bytes())
    except ValueError as error:
        raise MalformedError(f"the index is no JSON: {error}") from None
    places: Any = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise MalformedError("it is JSON without a weight_map from tensors to files, so no index of safetensors")
    names = set(places.values())
    if len(names) > _FILES:
        raise MalformedError(f"the index has {len(names):,} files: more than {_FILES:,} is refused")
    for name in names:
        if name in ("", ".", "..") or any(character in name for character in "/\\:\0"):
            raise MalformedError(f"the index names a file outside its folder: {name[:80]!r}")
    return places


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        raise MalformedError(f"{path.name[:80]}, which the index names, is missing: download it too")
    if not path.is_file():
        raise MalformedError(f"{path.name[:80]} is no plain file")
    try:
        with path.open("rb") as file:
            return read_safetensors(file, path.stat().st_size)
    except MalformedError as error:
        raise MalformedError(f"{path.name[:80]}: {error}") from None


def _some(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(name[:80] for name in shown[:3]) + (", ..." if len(shown) > 3 else "")
