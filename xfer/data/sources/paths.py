"""Paths as users write them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from xfer.data.images.decode import MAX_BYTES, BadImageError
from xfer.data.texts import taken
from xfer.errors import DataError
from xfer.runtime.paths import expanded
from xfer.runtime.remote import RemotePath, is_remote

AnyPath = Path | RemotePath


@dataclass(frozen=True)
class Files(Sequence[Path | bytes]):
    """Files in and below a folder, as paths when they are asked for: a million of them would not fit into memory.

    Under a URL they are the files' contents, which are read when they are asked for.

    Args:
        root: the folder, or its URL.
        names: relative to it, or absolute.
    """

    root: str
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path | bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Files: ...
    def __getitem__(self, index: int | slice) -> Path | bytes | Files:
        if isinstance(index, slice):
            return Files(self.root, self.names[index])
        name = self.names[index]
        return content(RemotePath(self.root) / name) if is_remote(self.root) else Path(self.root, name)

    def paths(self) -> Iterator[str]:
        """The paths as texts, or the URLs."""
        root = RemotePath(self.root) if is_remote(self.root) else Path(self.root)
        return (str(root / name) for name in self.names)

    def taken(self, indices: np.ndarray) -> Files:
        """These files, by an absolute path of the folder."""
        root = self.root if is_remote(self.root) else str(Path(self.root).absolute())
        return Files(root, taken(self.names, indices))


class Named(Sequence[Any]):
    """Images of any kind, of which a URL is read when it is asked for."""

    def __init__(self, images: Sequence[Any]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Named(self._images[index])
        image = self._images[index]
        return content(RemotePath(image)) if isinstance(image, str) else image

    def taken(self, indices: np.ndarray) -> Named:
        """These images, by absolute paths."""
        images = [self._images[i] for i in indices.tolist()]
        return Named([image.absolute() if isinstance(image, Path) else image for image in images])


def content(path: RemotePath) -> bytes:
    """The bytes of an image.

    Raises:
        BadImageError: there is no such file, or it is too long. DataError: the store cannot be read.
    """
    try:
        found = path.read_bytes(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadImageError("there is no such file") from None
    if len(found) > MAX_BYTES:
        raise BadImageError(f"too long: more than {MAX_BYTES:,} bytes; save it smaller")
    return found


@overload
def existing(path: Path) -> Path: ...
@overload
def existing(path: str | os.PathLike[str] | RemotePath) -> AnyPath: ...
def existing(path: str | os.PathLike[str] | RemotePath) -> AnyPath:
    """The path, which is there; `~` is expanded. A URL is a `RemotePath`.

    Raises:
        DataError: nothing is there, or it may not be known; the message names what lies nearby.
    """
    if isinstance(path, RemotePath):
        return path
    if isinstance(path, str) and is_remote(path):
        remote = RemotePath(path)
        if not remote.exists():
            raise DataError(f"{remote} does not exist: check the address")
        return remote
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
