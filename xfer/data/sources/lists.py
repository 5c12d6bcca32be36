"""Images that are named one after another: files, folders, tables, and text files of paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data.dataset import UNLABELLED, Split
from xfer.data.sources.folders import images_in
from xfer.data.sources.load import TABLES
from xfer.data.sources.paths import AnyPath, Named, existing
from xfer.data.sources.tables import listed_images
from xfer.errors import DataError
from xfer.runtime.remote import RemotePath, is_remote

LISTS = (".txt", ".lst")


def listed(given: Iterable[str | os.PathLike[str] | RemotePath], columns: Sequence[str] = ()) -> Split:
    """Images without labels, in the order in which they are named, as often as they are named.

    Of a folder, all images in and below it; a table as in `xfer.data.sources.tables.listed_images`; a text file
    (`.txt`, `.lst`) has a path a line, or a zero byte after each path, as `find -print0` writes them, in the bytes of
    the file system. What a table or a text file names is relative to its folder, and need not be there: whoever reads
    it says so. A million paths take as much memory as their texts.

    Args:
        given: paths of these.
        columns: of tables, to keep beside each image; there must be tables alone then.

    Raises:
        DataError: a path that is not there, or a folder, table or text file without images, or without the columns.
    """
    images: list[Any] = []
    names: list[str] = []
    cells = []
    for path in (existing(each) for each in given):
        suffix, before = path.suffix.lower(), len(images)
        is_table = not path.is_dir() and suffix in TABLES
        if columns and not is_table:
            wanted = ", ".join(columns)
            raise DataError(f"the model reads columns {wanted} beside the image: give a table of them, not {path}")
        if path.is_dir():
            names += images_in(path).paths()
            images += names[before:]
        elif is_table:
            found, named, beside = listed_images(path, columns)
            cells.append(beside)
            images += (_below(path.parent, image) for image in found)
            names += named
        elif suffix in LISTS:
            names += _lines(path)
            images += (_below(path.parent, name) for name in names[before:])
        else:
            names.append(str(path))
            images.append(names[-1])
        if len(images) == before:
            raise DataError(f"{path} has no images in it: give image files, folders, or lists of them")
    table = np.concatenate(cells) if columns and cells else None
    return Split(
        Named(images),
        np.full(len(images), UNLABELLED),
        names,
        columns=table,
        column_names=() if table is None else tuple(columns),
    )


def _below(folder: AnyPath, image: Any) -> Any:
    """A path from a folder on; the same text where nothing is to be added.

    What a list on this machine names is a file on it, even if it looks like a URL: nothing is asked of other machines.
    """
    if not isinstance(image, str) or (folder == Path() and not is_remote(image)):
        return image
    if not isinstance(folder, Path):
        return str(folder / image)
    return os.path.join(folder, image)  # noqa: PTH118 - a path object for each of many takes longer than all else


def _lines(file: AnyPath) -> list[str]:
    if not file.is_file():
        raise DataError(f"{file} is no plain file: give a text file with a path a line")
    try:
        with file.open("rb") as lines:
            if b"\0" in lines.read(1 << 16):
                lines.seek(0)
                return [os.fsdecode(name) for name in lines.read().split(b"\0") if name.strip()]
            lines.seek(0)
            return [os.fsdecode(name) for line in lines if (name := line.rstrip(b"\r\n"))]
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from None
