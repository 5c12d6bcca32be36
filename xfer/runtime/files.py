"""Writing files atomically, locking folders, and reading files safely from folders that are not trusted."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xfer.errors import CheckpointError
from xfer.runtime.paths import hub_cache

if TYPE_CHECKING:
    from filelock import FileLock


LOCK = ".lock"


def folder_lock(folder: Path) -> FileLock:
    """The lock of a folder that is written into; a process may take it again while it has it.

    The kernel lets go of it when the process ends, however it ends.
    """
    from filelock import FileLock

    return FileLock(folder / LOCK, is_singleton=True)


@contextmanager
def writing_into(folder: str | os.PathLike[str]) -> Iterator[None]:
    """A block that writes files into a folder.

    Raises:
        CheckpointError: the system refuses a file, in one line.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"cannot write into {os.fspath(folder)}: {reason}; give another out") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by `content`: whoever reads sees the old bytes or the new ones, also after a power cut."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def tensors_digest(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the names and bytes of tensors, in the order of the names: each backend lists them in its own."""
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode() + b"\0" + weights[name].tobytes())
    return found.hexdigest()


def sync_folder(folder: Path) -> None:
    """Have what a folder lists, such as a file that was renamed, outlast a power cut."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_inside(folder: Path, name: str, limit: int | None = None) -> bytes:
    """The bytes of a file that lies in a folder itself, and not elsewhere by way of its name or of a link.

    In the cache of huggingface_hub, where every file of a snapshot is a link, it may lie among the cache's blobs.

    Raises:
        CheckpointError: another place, no plain file, or more bytes than the limit. OSError: it cannot be read.
    """
    path = folder / name
    if not name or name in (".", "..") or any(character in name for character in "/\\:\0"):
        raise CheckpointError(f"{folder} names a file outside its folder: {name!r}")
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if real.parent != home and not _is_blob(real, home):
        raise CheckpointError(f"{path} is a link that leads outside its folder: copy the file into it")
    # Without waiting for whoever might write into a pipe.
    with open(path, "rb", opener=lambda p, flags: os.open(p, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise CheckpointError(f"{path} is no plain file: the run is damaged")
        if limit is not None and about.st_size > limit:
            raise CheckpointError(f"{path} has {about.st_size:,} bytes: more than {limit:,} is refused")
        try:
            content = file.read() if limit is None else file.read(limit)
        except MemoryError:
            raise CheckpointError(f"{path} has {about.st_size:,} bytes, which do not fit into memory") from None
    return content


def _is_blob(file: Path, snapshot: Path) -> bool:
    """Whether a folder is a snapshot in the hub's cache, and a file one of its blobs; both paths are real ones."""
    cache = Path(os.path.realpath(hub_cache()))
    if cache not in file.parents or cache not in snapshot.parents:
        return False
    repo, *rest = snapshot.relative_to(cache).parts
    place = file.relative_to(cache).parts
    return rest[:1] == ["snapshots"] and len(rest) > 1 and (place[0] == "blobs" or place[:2] == (repo, "blobs"))
