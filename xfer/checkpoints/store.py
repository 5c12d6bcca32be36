"""Runs under URLs: the folder on this machine in which such a run is worked on, and its copy in a store.

A store has no atomic rename of a folder. So a manifest, which names the other files by their SHA-256, is uploaded last,
and who reads believes nothing but what a manifest names: a checkpoint whose upload was cut off is not there, and the
one before it is taken. What is in the store is the truth; the folder on this machine lasts as long as the process.
Nothing locks a store: give each run a URL of its own.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from xfer.checkpoints.checkpoint import fetch_checkpoint
from xfer.checkpoints.manifest import MANIFEST, METRICS
from xfer.checkpoints.rotation import FOLDER, Checkpoints, checkpoints_in
from xfer.checkpoints.saving import is_stored
from xfer.errors import CheckpointError, DataError
from xfer.runtime.distributed import launch_environment
from xfer.runtime.paths import expanded
from xfer.runtime.progress import say, step
from xfer.runtime.remote import RemotePath, is_remote


def run_folder(out: str | Path) -> Path:
    """The folder of a run on this machine; of a run under a URL, one that ends with this process."""
    return _temporary(str(RemotePath(str(out)))) if is_remote(out) else expanded(out)


@cache
def _temporary(url: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="xfer-run-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _urls[folder] = url
    return folder


_urls: dict[Path, str] = {}


def address_of(path: Path | None) -> str:
    """Where a file or folder of a run is, for people: its URL if it is a copy of what is there."""
    found = path and next((folder for folder in (path, *path.parents) if folder in _urls), None)
    return f"{_urls[found]}/{path.relative_to(found).as_posix()}" if path and found else str(path)


def fetch_run(out: str | Path) -> None:
    """Bring what a run under a URL goes on from: its newest whole checkpoint and `metrics.json`; nothing of a folder.

    Raises:
        CheckpointError: all its checkpoints are damaged. DataError: the store cannot be read.
    """
    if not is_remote(out):
        return
    url, folder = RemotePath(str(out)), run_folder(out)
    for path in checkpoints_in(folder / FOLDER):
        shutil.rmtree(path)
    (folder / METRICS).unlink(missing_ok=True)
    with step(f"looking for a run in {url}"):
        with suppress(FileNotFoundError):
            (folder / METRICS).write_bytes((url / METRICS).read_bytes())
        numbers = _checkpoints(url)
    for number in numbers:
        try:
            fetch_checkpoint(url / FOLDER / number, folder / FOLDER / number, training=True)
        except CheckpointError as error:
            shutil.rmtree(folder / FOLDER / number, ignore_errors=True)
            say(f"{error}; taking the checkpoint before it")
        else:
            return
    if numbers:
        raise CheckpointError(f"no checkpoint in {url} is whole: remove {url / FOLDER} to begin again")


def has_checkpoints(out: str | Path) -> bool:
    """Whether a run is under way, or was interrupted."""
    return bool(_checkpoints(RemotePath(str(out))) if is_remote(out) else checkpoints_in(expanded(out) / FOLDER))


def publish_run(out: str | Path) -> None:
    """Upload the files of a finished run under a URL, its manifest last; nothing of a folder.

    Of several processes the main one uploads.

    Raises:
        CheckpointError: the store cannot be written.
    """
    if not is_remote(out) or launch_environment().rank:
        return
    url, folder = RemotePath(str(out)), run_folder(out)
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    with step(f"uploading the run to {url}"):
        _upload(url, files)
        names = {path.name for path in files}
        for name in url.entries()[0]:
            if is_stored(name) and name not in names:  # of the run before
                (url / name).remove()


def checkpoints_of(out: str | Path, *, steps: int | None, seconds: float | None) -> Checkpoints:
    """The checkpoints of a run, in its folder or under its URL."""
    folder = run_folder(out) / FOLDER
    if is_remote(out):
        return _Uploaded(RemotePath(str(out)) / FOLDER, folder, steps=steps, seconds=seconds)
    return Checkpoints(folder, steps=steps, seconds=seconds)


class _Uploaded(Checkpoints):
    """Checkpoints whose copies are under a URL."""

    def __init__(self, url: RemotePath, folder: Path, *, steps: int | None, seconds: float | None) -> None:
        super().__init__(folder, steps=steps, seconds=seconds)
        self._url = url

    def write(self, save: Callable[[Path], object]) -> Path:
        """Have one written, and upload it; see `Checkpoints.write`."""
        began = time.monotonic()
        path = super().write(save)
        _upload(self._url / path.name, [file for file in path.iterdir() if file.is_file()])
        there = {old.name for old in checkpoints_in(self.folder)}
        for number in _checkpoints(self._url.parent):
            if number not in there:
                _remove(self._url / number)
        self._last = time.monotonic()
        self._took = self._last - began
        return path

    def clear(self) -> None:
        """Remove them all, here and there."""
        super().clear()
        for number in _checkpoints(self._url.parent):
            _remove(self._url / number)


def _upload(url: RemotePath, files: list[Path]) -> None:
    """The files, a manifest last."""
    try:
        for path in sorted(files, key=lambda path: (path.name == MANIFEST, path.name)):
            (url / path.name).upload(path)
    except DataError as error:
        raise CheckpointError(str(error)) from None


def _remove(checkpoint: RemotePath) -> None:
    """First its manifest: without it there is none."""
    (checkpoint / MANIFEST).remove()
    checkpoint.remove()


def _checkpoints(url: RemotePath) -> list[str]:
    """The numbers of the checkpoints of a run, the newest first; one whose upload was cut off is no checkpoint."""
    there = url / FOLDER
    there.forget()
    if not there.is_dir():
        return []
    numbers = sorted(filter(str.isdigit, there.entries()[0]), reverse=True)
    return [number for number in numbers if (there / number / MANIFEST).is_file()]
