"""Paths as users write them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from xfer.data.images.decode import MAX_BYTES, BadImageError
from xfer.errors import DataError
from xfer.runtime.paths import expanded
from xfer.runtime.remote import RemotePath, is_remote

AnyPath = Path | RemotePath


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

    def paths(self) -> list[str]:
        """The paths as texts."""
        return [str(path) for path in self]

    def taken(self, indices: Iterable[int]) -> Files:
        """These files, by an absolute path of the folder."""
        return Files(str(Path(self.root).absolute()), [self.names[i] for i in indices])


@dataclass(frozen=True)
class RemoteFiles(Sequence[bytes]):
    """Files under a URL, whose contents are read when they are asked for.

    Args:
        root: the URL of a folder.
        names: relative to it.
    """

    root: str
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return RemoteFiles(self.root, self.names[index])
        return content(RemotePath(self.root) / self.names[index])

    def paths(self) -> list[str]:
        """The URLs."""
        return [str(RemotePath(self.root) / name) for name in self.names]

    def taken(self, indices: Iterable[int]) -> RemoteFiles:
        """These files."""
        return RemoteFiles(self.root, [self.names[i] for i in indices])


class Named(Sequence[Any]):
    """Encoded images, and paths that are texts until they are asked for: a million path objects take a gigabyte."""

    def __init__(self, images: Sequence[Any]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Named(self._images[index])
        image = self._images[index]
        if not isinstance(image, str):
            return image
        return content(RemotePath(image)) if is_remote(image) else Path(image)

    def taken(self, indices: Iterable[int]) -> Named:
        """These images, by absolute paths."""
        return Named([_absolute(self._images[i]) for i in indices])


def _absolute(image: Any) -> Any:
    if isinstance(image, Path) or (isinstance(image, str) and not is_remote(image)):
        return os.path.abspath(image)  # noqa: PTH100 - texts, see above
    return image


def files_in(root: AnyPath, names: Sequence[str]) -> Files | RemoteFiles:
    """Files in and below a folder, by names that are relative to it."""
    return Files(str(root), names) if isinstance(root, Path) else RemoteFiles(str(root), names)


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
