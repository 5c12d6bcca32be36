"""Paths as users write them."""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from pathlib import Path

from xfer.errors import DataError


def existing(path: str | os.PathLike[str]) -> Path:
    """The path, which is there; `~` is expanded.

    Raises:
        DataError: nothing is there, or it may not be known; the message names what lies nearby.
    """
    found = Path(path)
    with suppress(RuntimeError):  # a file whose name begins with a ~ that is nobody's
        found = found.expanduser()
    try:
        if found.exists():
            return found
        if found.is_symlink():
            raise DataError(f"{found} is a link to {found.readlink()}, which does not exist: mend or remove it")
        if not found.parent.is_dir():
            raise DataError(f"{found} does not exist, nor does its folder {found.parent}")
        around = sorted(entry.name for entry in found.parent.iterdir())
    except OSError as error:
        raise DataError(f"cannot look for {found}: {error.strerror}") from None
    near = difflib.get_close_matches(found.name, around, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else "check the path"
    raise DataError(f"{found} does not exist: {hint}")
