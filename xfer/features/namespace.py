"""The namespaces of the feature cache: locking one that is filled, and removing old ones to stay within the budget.

A lock is `flock`'s, which the kernel takes back when its process ends, however it ends: there are no stale locks, and
the file that stays behind means nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xfer.features import store
from xfer.runtime.progress import say

PATIENCE = 2.0  # seconds before a run says what it waits for


@dataclass(frozen=True)
class Namespace:
    """The rows of one network up to one block.

    Args:
        folder: which need not be there.
    """

    folder: Path

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """The only one of this name: a second run waits, says so, and then finds the rows of the first.

        Raises:
            OSError: the folder cannot be made or written.
        """
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / f"{name}.lock")
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            say(f"waiting for another process that fills {self.folder}")
            lock.acquire(timeout=-1)
        try:
            os.utime(self.folder)
            yield
        finally:
            lock.release()

    def in_use(self) -> bool:
        """Whether a process fills it now."""
        from filelock import FileLock, Timeout

        for path in self.folder.glob("*.lock"):
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
                lock.release()
            except Timeout:
                return True
            except OSError:  # it has just gone, or is another user's
                continue
        return False

    def size(self) -> int:
        """Bytes of its files."""
        try:
            return int(sum(_stat(path, "st_size") for path in self.folder.iterdir()))
        except FileNotFoundError:
            return 0


def make_room(space: Namespace, here: store.Found, wanted: int, row_bytes: int, budget: int) -> None:
    """Room for `wanted` rows, some of which are here: first other spaces go, then rows of other images.

    A space that a process fills stays; from one that a process reads, nothing is lost to that process.

    Args:
        space: which is there, and locked.
        here: those of the rows that are there.
        wanted: how many there will be.
        row_bytes: of one.
        budget: bytes that all spaces may take.

    Raises:
        OSError: they do not fit.
    """
    folder = space.folder.parent
    found = (path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    others = [Namespace(path) for path in found if path != space.folder]
    others.sort(key=lambda other: _stat(other.folder, "st_mtime"))
    sizes = {other: other.size() for other in others}
    own = space.size()
    room = min(budget, shutil.disk_usage(folder).free + own + sum(sizes.values()))
    if (asked := store.size(wanted, row_bytes)) > room:
        raise OSError(f"{asked >> 20} MiB of features do not fit into {room >> 20} MiB")
    room -= own + store.size(wanted - len(here.places), row_bytes) + sum(sizes.values())
    busy = False
    for other in others:
        if room >= 0:
            return
        if other.in_use():
            busy = True
            continue
        shutil.rmtree(other.folder, ignore_errors=True)
        room += sizes[other]
    for path in sorted(here.idle, key=lambda path: _stat(path, "st_mtime")):
        if room >= 0:
            return
        room += int(_stat(path, "st_size"))
        path.unlink(missing_ok=True)
    if room < 0 and busy:
        raise OSError(f"{asked >> 20} MiB of features do not fit beside those that other processes are writing")


def _stat(path: Path, what: str) -> float:
    """0 of what another process has just removed."""
    try:
        return float(getattr(path.stat(), what))
    except FileNotFoundError:
        return 0.0
