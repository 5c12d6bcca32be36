"""Which of many files is not there."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from xfer.data.sources.paths import AnyPath


def lacking(base: AnyPath, names: Sequence[str]) -> int | None:
    """The index of the first name, relative to a folder or absolute, that is no file; None where all are.

    Every folder is listed once, and a file is only looked for where the list has no such name. Names are compared by
    Python's hashes of them, 64 bits: of a million files one that is lacking is overlooked, until it is read, with a
    probability of 1e-13.
    """
    folders: dict[str, int] = {}
    numbers, hashes = array("i"), array("q")
    for name in names:
        folder, slash, last = name.rpartition("/")
        numbers.append(folders.setdefault(folder or slash, len(folders)))
        hashes.append(hash(last))
    there = _listed(base, list(folders), np.frombuffer(numbers, np.int32), np.frombuffer(hashes, np.int64))
    return next((i for i in np.flatnonzero(~there).tolist() if not _is_file(base / names[i])), None)


def _listed(base: AnyPath, folders: Sequence[str], numbers: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Which names are in the lists of their folders, bool (N,)."""
    found = np.zeros(len(numbers), bool)
    if len(numbers) == 1:
        return found
    rows = np.argsort(numbers, kind="stable")
    places = np.searchsorted(numbers[rows], np.arange(len(folders) + 1))
    for number, folder in enumerate(folders):
        here = rows[places[number] : places[number + 1]]
        found[here] = np.isin(hashes[here], np.fromiter(map(hash, _files_in(base / folder)), np.int64))
    return found


def _files_in(folder: AnyPath) -> Iterator[str]:
    if not isinstance(folder, Path):
        names, folders = folder.entries()
        yield from (name for name in names if name not in folders)
        return
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if entry.is_file())
    except OSError:  # it is not there, or may not be listed
        return


def _is_file(path: AnyPath) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # such as a name that is too long
        return False
