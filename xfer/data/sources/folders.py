"""Folders of class folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from xfer.data.categorical import Categorical
from xfer.data.corrections import Corrections, corrected
from xfer.data.dataset import Data
from xfer.data.images.formats import EXTENSIONS
from xfer.data.sources.assembly import SPLIT_NAMES, Part, assemble
from xfer.data.sources.paths import AnyPath, Files, existing
from xfer.data.texts import TextBuilder, Texts
from xfer.errors import DataError
from xfer.runtime.remote import RemotePath, is_remote

# What systems write beside pictures: archives of macOS, a NAS's thumbnails and bins, Windows's and Linux's own folders.
_WORDS = "__macosx @eadir @recycle #recycle #snapshot lost+found $recycle.bin recycler"
_OF_THE_SYSTEM = frozenset([*_WORDS.split(" "), "system volume information"])
_SUFFIXES = frozenset(EXTENSIONS)
_SHOWN = 5


def folder(path: str | os.PathLike[str], *, val: float = 0.2, seed: int = 0, corrections: Corrections = None) -> Data:
    """Images in class folders, with or without `train`, `val` and `test` folders above them.

    `path/train/ant/1.jpg` or `path/ant/1.jpg`. The classes are the sorted folder names of train. Folders inside a
    class folder belong to the class; links are followed, except back up the tree. Files without one of `EXTENSIONS`,
    hidden ones, folders of the system (`@eaDir`, `__MACOSX`, `lost+found`, ...) and runs of xfer are left out, and
    `notes` say so. Without val, a share of train takes its place.

    Args:
        path: the root.
        val: share of train to hold out for validation where no split is given.
        seed: of the hold-out.
        corrections: a CSV file of corrected labels, or labels by name; see `xfer.data.corrections.corrected`.

    Raises:
        DataError: the folder is not there, has no classes or one, an empty class, or a class that train lacks.
    """
    root = existing(path)
    if not root.is_dir():
        raise DataError(f"{root} is a file: give a folder of class folders, or a .csv file")
    if isinstance(root, RemotePath):
        root.refresh()
    left_out = _LeftOut()
    splits = _split_folders(root, left_out)
    parts = {key: _part(root, where, key, left_out) for key, where in splits.items()}
    data = assemble(parts, source=str(root), val=val, seed=seed, notes=left_out.notes())
    return corrected(data, corrections)


def images_in(root: AnyPath) -> Files:
    """The image files in and below a folder, sorted by the parts of their paths."""
    if isinstance(root, RemotePath):
        root.refresh()
    return Files(str(root), Texts.of(_walk(root, _LeftOut())))


@dataclass
class _LeftOut:
    """What a walk over folders has passed over: the number of files, and the folders."""

    files: int = 0
    folders: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """A line each."""
        found = [f"{self.files} files without the extension of an image were left out"] if self.files else []
        if self.folders:
            found.append(f"hidden folders and those of the system were left out: {_listed(self.folders)}")
        if self.runs:
            found.append(f"runs of xfer were left out: {_listed(self.runs)}")
        if self.unknown:
            found.append(f"folders beside train/ were left out: {_listed(self.unknown)}")
        return found


def _walk(root: AnyPath, left_out: _LeftOut) -> Iterator[str]:
    """Names of images relative to a folder, in the order of their parts."""
    real = Path(os.path.realpath(str(root)))
    seen = {str(real), *map(str, real.parents)} if isinstance(root, Path) else None  # a store has no links

    def walk(where: str, above: str) -> Iterator[str]:
        names, folders = _entries(where)
        for name in names:
            if name in folders:
                below = os.path.join(where, name)  # noqa: PTH118 - a path object takes longer than all else
                if _passed_over(name):
                    left_out.folders.append(above + name)
                elif seen is None or _first(below, seen):
                    yield from walk(below, f"{above}{name}/")
            elif name[0] != "." and _suffix(name) in _SUFFIXES:
                yield above + name
            else:
                left_out.files += 1

    return walk(str(root), "")


def _split_folders(root: AnyPath, left_out: _LeftOut) -> dict[str, AnyPath]:
    found: dict[str, AnyPath] = {}
    others = []
    for name in _folders(root, left_out):
        key = SPLIT_NAMES.get(name.lower())
        if key in found:
            raise DataError(f"{root} has both {found[key].name}/ and {name}/: leave one {key} folder")
        if key:
            found[key] = root / name
        else:
            others.append(name)
    if found and "train" not in found:
        there = ", ".join(f"{where.name}/" for where in found.values())
        raise DataError(f"{root} has {there} but no train/: put the class folders into train/")
    if found:
        left_out.unknown += others
    else:
        left_out.folders.clear()  # they are listed once more
    return found or {"train": root}


def _part(root: AnyPath, where: AnyPath, key: str, left_out: _LeftOut) -> Part:
    children = _folders(where, left_out)
    if not children:
        raise DataError(f"{where} has no class folders: put the images of each class into a folder")
    names, codes = TextBuilder(), [np.empty(0, np.int32)]
    there, folders = _entries(str(where))
    left_out.files += len(there) - len(folders)
    above = "" if where == root else f"{where.name}/"
    for number, child in enumerate(children):
        inside, before = _LeftOut(), len(names)
        names.extend(f"{above}{child}/{name}" for name in _walk(where / child, inside))
        found = len(names) - before
        if not found and key == "train":
            if _is_run(where / child):
                left_out.runs.append(child)
                continue
            raise DataError(f"class folder {where / child} has no images: add some, or remove the folder")
        left_out.files += inside.files
        left_out.folders += inside.folders
        codes.append(np.full(found, number, np.int32))
    listed = names.build()
    labels = Categorical(np.concatenate(codes), tuple(children))
    return Part(Files(str(root), listed), labels, listed, files=True)


def _folders(where: AnyPath, left_out: _LeftOut) -> list[str]:
    """Names of the folders in a folder, those of the system left out."""
    there, folders = _entries(str(where))
    names = [name for name in there if name in folders]
    left_out.folders += [name for name in names if _passed_over(name)]
    return [name for name in names if not _passed_over(name)]


def _entries(where: str) -> tuple[list[str], set[str]]:
    """The sorted names of what is in a folder, and those of its folders."""
    if is_remote(where):
        return RemotePath(where).entries()
    names, folders = [], set()
    try:
        with os.scandir(where) as entries:
            for entry in entries:
                names.append(entry.name)
                if _is_dir(entry):
                    folders.add(entry.name)
        return sorted(names), folders
    except OSError as error:
        _refuse(error)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself: who opens it says so
        return False


def _suffix(name: str) -> str:
    """As `Path.suffix`, in lower case: a path object for each of many files takes longer than all else."""
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name.lower() in _OF_THE_SYSTEM


def _is_run(path: AnyPath) -> bool:
    """Whether a folder without images is what xfer writes: `--out` is `run` where nothing is said."""
    return (path / "checkpoints").is_dir() or (path / "manifest.json").is_file()


def _first(where: str, seen: set[str]) -> bool:
    real = os.path.realpath(where)
    new = real not in seen
    seen.add(real)
    return new


def _listed(names: Iterable[str]) -> str:
    distinct: Sequence[str] = list(dict.fromkeys(names))
    more = f" and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else ""
    return ", ".join(f"{name}/" for name in distinct[:_SHOWN]) + more


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"cannot read folder {error.filename}: {error.strerror}") from None
