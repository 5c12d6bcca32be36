"""Images that are named one after another: files, folders, tables, and text files of paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data.chain import Chain
from xfer.data.dataset import UNLABELLED, Split
from xfer.data.sources.folders import images_in
from xfer.data.sources.load import TABLES
from xfer.data.sources.paths import AnyPath, Files, content, existing
from xfer.data.sources.tables import listed_images
from xfer.data.texts import TextBuilder, Texts
from xfer.errors import DataError
from xfer.runtime.remote import RemotePath

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
    parts: list[Sequence[Any]] = []
    names, cells = TextBuilder(), []
    for path in (existing(each) for each in given):
        suffix = path.suffix.lower()
        is_table = not path.is_dir() and suffix in TABLES
        if columns and not is_table:
            wanted = ", ".join(columns)
            raise DataError(f"the model reads columns {wanted} beside the image: give a table of them, not {path}")
        if path.is_dir():
            found = images_in(path)
            named = Texts.of(found.paths())
            parts.append(Files("", named) if isinstance(path, Path) else found)
        elif is_table:
            images, named, beside = listed_images(path, columns)
            cells.append(beside)
            parts.append(_Below(path.parent, images))
        elif suffix in LISTS:
            named = Texts.of(_lines(path))
            parts.append(_Below(path.parent, named))
        else:
            named = Texts.of([str(path)])
            parts.append(Files("", named) if isinstance(path, Path) else Files(str(path.parent), [path.name]))
        if not len(named):
            raise DataError(f"{path} has no images in it: give image files, folders, or lists of them")
        names.append(named)
    table = np.concatenate(cells) if columns and cells else None
    return Split(
        Chain(parts) if parts else [],
        np.full(len(names), UNLABELLED),
        names.build(),
        columns=table,
        column_names=() if table is None else tuple(columns),
    )


@dataclass(frozen=True)
class _Below(Sequence[Any]):
    """Encoded images, and paths from a folder on, which are texts until they are asked for.

    What a list on this machine names is a file on it, even if it looks like a URL: nothing is asked of other machines.
    """

    folder: AnyPath
    images: Sequence[Any]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _Below(self.folder, self.images[index])
        image = self.images[index]
        if not isinstance(image, str):
            return image
        path = self.folder / image
        return path if isinstance(path, Path) else content(path)

    def taken(self, indices: np.ndarray) -> _Below:
        """These images, by an absolute path of the folder."""
        folder = self.folder.absolute() if isinstance(self.folder, Path) else self.folder
        if isinstance(self.images, Texts):
            return _Below(folder, self.images.take(indices))
        return _Below(folder, [self.images[i] for i in indices.tolist()])


def _lines(file: AnyPath) -> Iterator[str]:
    if not file.is_file():
        raise DataError(f"{file} is no plain file: give a text file with a path a line")
    try:
        with file.open("rb") as lines:
            if b"\0" in lines.read(1 << 16):
                lines.seek(0)
                yield from (os.fsdecode(name) for name in lines.read().split(b"\0") if name.strip())
                return
            lines.seek(0)
            yield from (os.fsdecode(name) for line in lines if (name := line.rstrip(b"\r\n")))
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from None
