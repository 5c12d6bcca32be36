"""Folders of class folders."""

from __future__ import annotations

import os
from pathlib import Path

from xfer.data.dataset import Data
from xfer.data.images.formats import EXTENSIONS
from xfer.data.sources.assembly import SPLIT_NAMES, Part, assemble
from xfer.data.sources.paths import existing
from xfer.errors import DataError


def folder(path: str | os.PathLike[str], *, val: float = 0.2, seed: int = 0) -> Data:
    """Images in class folders, with or without `train`, `val` and `test` folders above them.

    `path/train/ant/1.jpg` or `path/ant/1.jpg`. The classes are the sorted folder names of train. Folders inside a
    class folder belong to the class; links are followed, except back up the tree. Hidden files and files without one of
    `EXTENSIONS` are counted and left out. Without val, test takes its place, or else a share of train.

    Args:
        path: the root.
        val: share of train to hold out for validation where no split is given.
        seed: of the hold-out.

    Raises:
        DataError: the folder is not there, has no classes or one, an empty class, or a class that train lacks.
    """
    root = existing(path)
    if not root.is_dir():
        raise DataError(f"{root} is a file: give a folder of class folders, or a .csv file")
    parts: dict[str, Part] = {}
    ignored = 0
    for key, where in _split_folders(root).items():
        parts[key], left_out = _part(root, where, key)
        ignored += left_out
    notes = [f"{ignored} files without the extension of an image were left out"] if ignored else []
    return assemble(parts, source=str(root), val=val, seed=seed, notes=notes)


def images_in(root: Path) -> tuple[list[Path], int]:
    """Sorted image files in and below `root`, and the number of other files there."""
    images: list[Path] = []
    ignored = 0
    real = Path(os.path.realpath(root))
    seen = {str(real), *map(str, real.parents)}
    for where, folders, files in os.walk(root, followlinks=True, onerror=_refuse):
        folders[:] = [name for name in _visible(folders) if _first(Path(where, name), seen)]
        found = [name for name in _visible(files) if Path(name).suffix.lower() in EXTENSIONS]
        images += [Path(where, name) for name in found]
        ignored += len(files) - len(found)
    return sorted(images), ignored


def _split_folders(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for child in _folders(root):
        key = SPLIT_NAMES.get(child.name.lower())
        if key in found:
            raise DataError(f"{root} has both {found[key].name}/ and {child.name}/: leave one {key} folder")
        if key:
            found[key] = child
    if found and "train" not in found:
        others = ", ".join(f"{where.name}/" for where in found.values())
        raise DataError(f"{root} has {others} but no train/: put the class folders into train/")
    return found or {"train": root}


def _part(root: Path, where: Path, key: str) -> tuple[Part, int]:
    children = _folders(where)
    if not children:
        raise DataError(f"{where} has no class folders: put the images of each class into a folder")
    images: list[Path] = []
    labels: list[str] = []
    ignored = sum(child.is_file() for child in _listed(where))
    for child in children:
        found, left_out = images_in(child)
        if not found and key == "train":
            raise DataError(f"class folder {child} has no images: add some, or remove the folder")
        images += found
        labels += [child.name] * len(found)
        ignored += left_out
    names = [image.relative_to(root).as_posix() for image in images]
    return Part(images, labels, names), ignored


def _folders(where: Path) -> list[Path]:
    return [where / name for name in _visible([child.name for child in _listed(where)]) if (where / name).is_dir()]


def _listed(where: Path) -> list[Path]:
    try:
        return list(where.iterdir())
    except OSError as error:
        _refuse(error)
        raise


def _visible(names: list[str]) -> list[str]:
    # macOS writes __MACOSX beside the folders of every archive.
    return sorted(name for name in names if not name.startswith(".") and name != "__MACOSX")


def _first(where: Path, seen: set[str]) -> bool:
    real = os.path.realpath(where)
    new = real not in seen
    seen.add(real)
    return new


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot read folder {error.filename}: {error.strerror}") from None
