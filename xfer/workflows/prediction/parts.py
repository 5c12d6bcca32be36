"""The parts of a file that is written by and by: complete on the disk, or not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

from xfer.errors import CheckpointError
from xfer.runtime.files import LOCK, folder_lock, sync_folder, write_atomically

_SUFFIX = ".part"
_BLOCK = 1 << 20


class Parts:
    """Numbered parts in a folder, which one process at a time has.

    A part begins with a line: the SHA-256 of what follows, and how many of its images cannot be read.

    Args:
        folder: made when it is entered, and removed at the end if it has no parts.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = folder_lock(folder)

    def __enter__(self) -> Self:
        """Take the folder.

        Raises:
            CheckpointError: another process has it, or it cannot be written.
        """
        from filelock import Timeout

        try:
            self.folder.mkdir(exist_ok=True)
            sync_folder(self.folder.parent)
            self._lock.acquire(timeout=0)
            for path in self.folder.glob(f".*{_SUFFIX}"):  # what a kill has left half written
                path.unlink()
        except Timeout:
            raise CheckpointError(f"another process is writing into {self.folder}: wait for it") from None
        except OSError as error:
            raise CheckpointError(f"cannot write into {self.folder}: {error.strerror or error}") from None
        return self

    def __exit__(self, *raised: object) -> None:
        empty = not self.any()
        if empty:
            with suppress(OSError):  # while no other process can have it; Windows keeps what is open
                (self.folder / LOCK).unlink()
        self._lock.release()
        if empty:
            with suppress(OSError):  # another process has just taken it, or there is something else in it
                self.folder.rmdir()

    def any(self) -> bool:
        """Whether there are parts."""
        return any(self._paths())

    def clear(self) -> None:
        """Remove all of them."""
        for path in self._paths():
            path.unlink()

    def write(self, number: int, content: bytes, unreadable: int) -> None:
        """Write a part; when this returns, it is on the disk."""
        line = f"{hashlib.sha256(content).hexdigest()} {unreadable}\n".encode()
        write_atomically(self._path(number), line + content)

    def unreadable(self, number: int) -> int | None:
        """How many images of a part cannot be read; None if it is not there, or damaged."""
        try:
            with self._path(number).open("rb") as file:
                digest, _, count = file.readline(100).partition(b" ")
                found = hashlib.sha256()
                while block := file.read(_BLOCK):
                    found.update(block)
        except OSError:
            return None
        return int(count) if found.hexdigest().encode() == digest and count.strip().isdigit() else None

    def opened(self, number: int) -> Iterator[IO[bytes]]:
        """The first parts, so many, each open at the beginning of its content until the next is asked for."""
        for i in range(number):
            with self._path(i).open("rb") as file:
                file.readline()
                yield file

    def beside(self, path: Path, write: Callable[[IO[bytes]], object]) -> str:
        """Have a file beside the folder written and replaced when it is complete; its SHA-256.

        What a kill leaves of it lies in the folder, and goes with it.
        """
        part = self.folder / f".{_SUFFIX}"
        with part.open("w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        part.replace(path)
        sync_folder(path.parent)
        return digest

    def _paths(self) -> Iterator[Path]:
        return self.folder.glob(f"[0-9]*{_SUFFIX}")

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}{_SUFFIX}"
