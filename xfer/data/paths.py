"""Paths as people type them."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from xfer.errors import DataError


def existing(path: str | os.PathLike[str]) -> Path:
    """The path, which is there; `~` is expanded.

    Raises:
        DataError: nothing is there; the message names what lies nearby.
    """
    found = Path(path).expanduser()
    if found.exists():
        return found
    if not found.parent.is_dir():
        raise DataError(f"{found} does not exist, nor does its folder {found.parent}")
    around = sorted(entry.name for entry in found.parent.iterdir())
    near = difflib.get_close_matches(found.name, around, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else "check the path"
    raise DataError(f"{found} does not exist: {hint}")
