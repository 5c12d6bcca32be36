"""Checkpoints during a run: a folder each, complete or absent, of which the last ones stay."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from xfer.checkpoints.checkpoint import Checkpoint, open_checkpoint
from xfer.errors import CheckpointError
from xfer.runtime.distributed import launch_environment
from xfer.runtime.files import folder_lock, sync_folder
from xfer.runtime.paths import expanded
from xfer.runtime.progress import say
from xfer.runtime.text import path_text

FOLDER = "checkpoints"
_SHARE = 20  # the time between two checkpoints is at least so many times what the last one took


class Checkpoints:
    """Where a trainer saves itself while it works, and how often.

    Each checkpoint is written into a hidden folder beside the others, synced to the disk, and renamed when it is whole.
    Only then the oldest goes. While entered, no other run writes into the folder.

    Args:
        folder: made if need be, and again removed with its checkpoints when the run is finished.
        steps: updates between two; None does not count them.
        seconds: between two; None looks at no clock. One that takes long to write is written less often, so that at
            most a twentieth of the time goes into writing.
        keep: how many stay.
    """

    def __init__(
        self, folder: str | Path, *, steps: int | None = None, seconds: float | None = 60.0, keep: int = 2
    ) -> None:
        self.folder, self.steps, self.seconds, self.keep = expanded(folder), steps, seconds, keep
        self._updates = 0
        self._last, self._took = time.monotonic(), 0.0
        self._lock = folder_lock(self.folder)

    def __repr__(self) -> str:
        there = len(checkpoints_in(self.folder))
        often = [f"{self.steps} updates"] if self.steps is not None else []
        often += [f"{self.seconds:g} s"] if self.seconds is not None else []
        every = f"every {' and every '.join(often)}" if often else "at the end of a fit"
        return f"Checkpoints({path_text(self.folder)}: {there} there, keeps {self.keep}, {every})"

    def __enter__(self) -> Self:
        """Take the folder.

        Raises:
            CheckpointError: another run has it, or it cannot be written.
        """
        if launch_environment().rank:  # the first process of the run has it, for all
            return self
        from filelock import Timeout

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self.folder.parent)
            self._lock.acquire(timeout=0)
            for path in self.folder.glob(".*"):  # what a kill has left half written or half removed
                shutil.rmtree(path, ignore_errors=True)
        except Timeout:
            raise CheckpointError(
                f"another run is writing into {self.folder.parent}: wait for it, or give another folder"
            ) from None
        except OSError as error:
            raise CheckpointError(f"cannot write into {self.folder}: {error.strerror or error}") from None
        return self

    def __exit__(self, *raised: object) -> None:
        if not launch_environment().rank:
            self._lock.release()

    def counted(self) -> bool:
        """Whether it is time for the next by the number of updates; to be asked once after each update."""
        self._updates += 1
        return self.steps is not None and self._updates % self.steps == 0

    def late(self) -> bool:
        """Whether the time between two is over."""
        waited = time.monotonic() - self._last
        return self.seconds is not None and waited >= max(self.seconds, _SHARE * self._took)

    def write(self, save: Callable[[Path], object]) -> Path:
        """Have one written by `save`, which is given an empty folder.

        Raises:
            CheckpointError: it cannot be written; those that were there stand.
        """
        began = time.monotonic()
        there = checkpoints_in(self.folder)
        number = 1 + (int(there[0].name) if there else 0)
        path, part = self.folder / f"{number:08d}", self.folder / f".{number:08d}.part"
        try:
            part.mkdir()  # not its parents: a folder that has gone is not made again behind its owner's back
            save(part)
            part.rename(path)
            sync_folder(self.folder)
            for old in there[self.keep - 1 :]:
                _remove(old)
        except (OSError, CheckpointError) as error:
            shutil.rmtree(part, ignore_errors=True)
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            last = f"the last good one is {there[0]}" if there else "there is none before it"
            raise CheckpointError(f"cannot write a checkpoint into {self.folder}: {reason}; {last}") from None
        self._last = time.monotonic()
        self._took = self._last - began
        return path

    def clear(self) -> None:
        """Remove them all: the run is finished, and saved."""
        for path in checkpoints_in(self.folder):
            _remove(path)
        shutil.rmtree(self.folder, ignore_errors=True)


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.name.isdigit()), reverse=True)


def latest_checkpoint(folder: str | Path) -> Checkpoint | None:
    """The newest checkpoint of a run under way that is whole, every file verified; None if no checkpoint is there.

    Of each that is damaged, stderr says so.

    Args:
        folder: of the run, or of its checkpoints.

    Raises:
        CheckpointError: all are damaged.
    """
    here = expanded(folder)
    found = checkpoints_in(here / FOLDER) or checkpoints_in(here)
    for path in found:
        try:
            opened = open_checkpoint(path)
            opened.verify()
        except CheckpointError as error:
            say(f"{error}; taking the checkpoint before it")
        else:
            return opened
    if found:
        raise CheckpointError(f"no checkpoint in {here} is whole: remove {found[0].parent} to begin again")
    return None


def _remove(path: Path) -> None:
    """First out of sight, so that a kill leaves no checkpoint with files missing."""
    gone = path.with_name(f".{path.name}.{os.getpid()}.old")
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
