"""Paths as users write them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from xfer.errors import DataError
from xfer.runtime.paths import expanded


@dataclass(frozen=True)
class Files(Sequence[Path]):
    """Files in and below a folder, as paths when they are asked for: a million of them would not fit into memory.

    Args:
        root: the folder.
        names: relative to it, or absolute.
    """

    root: str
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | Sequence[Path]:
        if isinstance(index, slice):
            return [Path(self.root, name) for name in self.names[index]]
        return Path(self.root, self.names[index])


def existing(path: str | os.PathLike[str]) -> Path:
    """The path, which is there; `~` is expanded.

    Raises:
        DataError: nothing is there, or it may not be known; the message names what lies nearby.
    """
    found = expanded(Path(path))
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
