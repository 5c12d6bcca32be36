"""CSV and Parquet files that list images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data.corrections import Corrections, corrected
from xfer.data.dataset import Data
from xfer.data.sources.assembly import SPLIT_NAMES, Label, Part, assemble
from xfer.data.sources.paths import AnyPath, Files, RemoteFiles, existing, files_in
from xfer.data.sources.pixels import as_label, as_picture
from xfer.data.sources.table_files import Table, header, read_table
from xfer.data.sources.targets import assemble_tasks
from xfer.errors import DataError
from xfer.runtime.remote import is_remote
from xfer.specs.loss import TaskKind


def manifest(
    path: str | os.PathLike[str],
    *,
    image: str = "image",
    label: str = "label",
    split: str = "split",
    columns: Sequence[str] = (),
    tasks: Mapping[str, TaskKind] | None = None,
    root: str | os.PathLike[str] | None = None,
    val: float = 0.2,
    seed: int = 0,
    corrections: Corrections = None,
) -> Data:
    """Images that a table lists: a UTF-8 `.csv` or `.tsv` with a header, or a `.parquet` file.

    The classes are the sorted labels; a row whose label is empty has none. Empty are cells without a value, and the
    texts that pandas takes for missing (`xfer.data.empty.EMPTY`), in a table of any kind. Parquet may hold encoded
    images (bytes, or Hugging Face's struct of bytes and path) in place of paths. Rows with the same image are held out
    together or not at all.

    Args:
        path: the table.
        image: column with the image's path.
        label: column with the class, a name or an integer.
        split: column with train, val or test; may be absent under its default name.
        columns: names of columns to keep beside each image, for `xfer.Columns`; a cell may be empty.
        tasks: several tasks in place of `label`: the kind of each, by column. "single-label": classes as in `label`.
            "multi-label": names with | between them, "-" for none (in Parquet, lists). "regression": numbers. An empty
            cell is a missing target.
        root: folder that relative image paths start from; the table's own by default.
        val: share of train to hold out for validation where no split is given.
        seed: of the hold-out.
        corrections: a CSV file of corrected labels, or labels by name; see `xfer.data.corrections.corrected`.

    Raises:
        DataError: what is wrong in the table, by line and column.
    """
    file = existing(path)
    base = file.parent if root is None else existing(root)
    asked = [label] if tasks is None else list(tasks)
    wanted = [image, *asked, *columns, *([split] if split != "split" else [])]
    table = read_table(file, tuple(dict.fromkeys(wanted)), split)
    pictures, names, files = _pictures(table, image, base)
    rows = _rows_by_split(table, split)
    if "train" not in rows:
        raise DataError(f"{file} lists no training images")
    labels = _labels(table, label) if tasks is None else [None] * len(names)
    cells = table.array(columns)
    parts = {
        key: Part(_taken(pictures, chosen), _taken(labels, chosen), _taken(names, chosen), cells[chosen], files)
        for key, chosen in rows.items()
    }
    if not columns:
        parts = {key: replace(part, columns=None) for key, part in parts.items()}
    options: dict[str, Any] = {"source": str(file), "val": val, "seed": seed, "column_names": columns}
    if tasks is None:
        return corrected(assemble(parts, notes=_note(table, label), **options), corrections)
    beside = {key: [table.row(i, asked) for i in chosen.tolist()] for key, chosen in rows.items()}
    return corrected(assemble_tasks(parts, beside, tasks, **options), corrections)


def listed_images(file: AnyPath, columns: Sequence[str] = ()) -> tuple[list[Any], list[str], np.ndarray]:
    """Images that a table of any kind lists, labelled or not, their names, and cells of its columns, objects (N, C).

    The images are in the column `image`, or `path` if only that is there: paths, as texts that are not looked for, or
    encoded bytes. A path is its name.

    Args:
        file: the table.
        columns: names of those to keep.

    Raises:
        DataError: what is wrong in the table, by line and column.
    """
    names = header(file)
    image = "path" if "path" in names and "image" not in names else "image"
    table = read_table(file, tuple(dict.fromkeys([image, *columns])))
    images = table.filled(image)
    for i, value in enumerate(images):
        if not isinstance(value, str):
            found = as_picture(value, table.where(i, image))
            images[i] = os.fspath(found) if isinstance(found, Path) else found
    names = [value if isinstance(value, str) else table.place(i) for i, value in enumerate(images)]
    return images, names, table.array(columns)


def _pictures(table: Table, column: str, base: AnyPath) -> tuple[Any, list[str], bool]:
    """Images, their names, and whether all are files.

    Raises:
        DataError: an empty cell, or a file that is not there, by line.
    """
    values = table.filled(column)
    if all(isinstance(value, str) for value in values):
        names = [_plain(value) for value in values]
        _check_files(table, column, base, names)
        return files_in(base, names), names, True
    pictures, names = [], []
    for i, value in enumerate(values):
        picture = as_picture(value, table.where(i, column))
        if isinstance(picture, Path):
            _check_files(table, column, base, [picture.as_posix()], i)
        name = picture.as_posix() if isinstance(picture, Path) else table.place(i)
        pictures.append(_below(base, name, table.where(i, column)) if isinstance(picture, Path) else picture)
        names.append(name)
    return pictures, names, False


def _below(base: AnyPath, name: str, where: str) -> Path:
    """A path from a folder on.

    Raises:
        DataError: the folder is a URL, and the table holds encoded images beside it.
    """
    if not isinstance(base, Path):
        raise DataError(f"{where} is a path among encoded images: a table under a URL has one or the other")
    return base / name


def _plain(name: str) -> str:
    """A path with one slash between its parts, and no dot for the folder itself."""
    if is_remote(name):
        return name
    odd = "//" in name or "./" in name or name.endswith(("/", "/.")) or (os.sep != "/" and os.sep in name)
    return Path(name).as_posix() if odd else name


def _check_files(table: Table, column: str, base: AnyPath, names: Sequence[str], first: int = 0) -> None:
    """Every folder is listed once; a file is only looked for where the list has no such name."""
    listed: dict[str, set[str]] = {}
    for i, name in enumerate(names):
        folder, _, last = name.rpartition("/")
        if folder not in listed:
            root = "/" if not folder and name.startswith("/") else folder
            listed[folder] = set(_files_in(base / root)) if len(names) > 1 else set()
        if last not in listed[folder] and not _is_file(base / name):
            raise DataError(f"{table.where(first + i, column)}: there is no file {name!r} in {base}")


def _files_in(folder: AnyPath) -> Iterator[str]:
    if not isinstance(folder, Path):
        yield from (entry.name for entry in folder.entries() if not entry.folder)
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


def _rows_by_split(table: Table, column: str) -> dict[str, np.ndarray]:
    """Indices of the rows of each split, in order."""
    if column not in table.cells:
        return {"train": np.arange(len(table))} if len(table) else {}
    keys = {value: SPLIT_NAMES.get(str(value).strip().lower()) for value in set(table.cells[column])}
    for i, value in enumerate(table.cells[column]):
        if keys[value] is None:
            raise DataError(f"{table.where(i, column)} is {value or ''!r}: give train, val or test")
    assigned = np.array([keys[value] for value in table.cells[column]], object)
    return {key: np.flatnonzero(assigned == key) for key in ("train", "val", "test") if (assigned == key).any()}


def _labels(table: Table, column: str) -> list[Label | None]:
    values = table.cells[column]
    if all(isinstance(value, float) and value.is_integer() for value in values if value is not None):
        values = [None if value is None else int(value) for value in values]  # integers that a null made floats
    found: dict[Any, Label] = {}
    for i, value in enumerate(values):
        if value is None or (isinstance(value, str | int | bytes) and value in found):
            continue
        made = str(value) if isinstance(value, bool) else as_label(value, table.where(i, column))
        if not isinstance(value, str | int | bytes):
            raise DataError(f"{table.where(i, column)} is {value!r}: give a name or an integer")
        found[value] = made
    return [None if value is None else found[value] for value in values]


def _note(table: Table, column: str) -> list[str]:
    texts = sorted(text for text in table.empty[column] if text.strip())
    return [f"labels {', '.join(map(repr, texts))} are taken for no label"] if texts else []


def _taken(values: Any, chosen: np.ndarray) -> Any:
    """The values at these places; all of them as they are."""
    if len(chosen) == len(values):
        return values
    if isinstance(values, (Files, RemoteFiles)):
        return type(values)(values.root, [values.names[i] for i in chosen.tolist()])
    return [values[i] for i in chosen.tolist()]
