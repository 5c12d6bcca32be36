"""CSV and Parquet files that list images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data.categorical import Categorical
from xfer.data.corrections import Corrections, corrected
from xfer.data.dataset import Data
from xfer.data.sources.assembly import SPLIT_NAMES, Label, Part, assemble
from xfer.data.sources.cells import Cells
from xfer.data.sources.missing import lacking
from xfer.data.sources.paths import AnyPath, Files, existing
from xfer.data.sources.pixels import as_label, as_picture
from xfer.data.sources.table_files import Table, TableRows, header, read_table
from xfer.data.sources.targets import assemble_tasks
from xfer.data.texts import Texts
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
    unlabelled = Categorical[Label](np.full(len(names), -1, np.int32), ())
    labels = _labels(table, label) if tasks is None else unlabelled
    cells = table.array(columns) if columns else None
    parts = {
        key: _part(pictures, labels, names, None if cells is None else cells[chosen], chosen, files)
        for key, chosen in rows.items()
    }
    options: dict[str, Any] = {"source": str(file), "val": val, "seed": seed, "column_names": columns}
    if tasks is None:
        return corrected(assemble(parts, notes=_note(table, label), **options), corrections)
    beside = {key: TableRows(table, asked, chosen) for key, chosen in rows.items()}
    return corrected(assemble_tasks(parts, beside, tasks, **options), corrections)


def listed_images(file: AnyPath, columns: Sequence[str] = ()) -> tuple[Sequence[Any], Texts, np.ndarray]:
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
    if not isinstance(images, Texts):
        pictures = (as_picture(value, table.where(i, image)) for i, value in enumerate(images))
        images = [os.fspath(found) if isinstance(found, Path) else found for found in pictures]
    named = Texts.of(value if isinstance(value, str) else table.place(i) for i, value in enumerate(images))
    return images, named, table.array(columns)


def _part(
    pictures: Any, labels: Categorical[Label], names: Texts, cells: np.ndarray | None, chosen: np.ndarray, files: bool
) -> Part:
    """The rows of a split."""
    if len(chosen) < len(names):
        labels, names = labels.take(chosen), names.take(chosen)
        # One object for names and paths, which `Split.subset` keeps one.
        pictures = Files(pictures.root, names) if files else [pictures[i] for i in chosen.tolist()]
    return Part(pictures, labels, names, cells, files)


def _pictures(table: Table, column: str, base: AnyPath) -> tuple[Any, Texts, bool]:
    """Images, their names, and whether all are files.

    Raises:
        DataError: an empty cell, or a file that is not there, by line.
    """
    values = table.filled(column)
    if isinstance(values, Texts):
        names = Texts.of(map(_plain, values)) if _may_be_odd(values) else values
        _check_files(table, column, base, names)
        return Files(str(base), names), names, True
    pictures, named = [], []
    for i, value in enumerate(values):
        picture = as_picture(value, table.where(i, column))
        if isinstance(picture, Path):
            _check_files(table, column, base, [picture.as_posix()], i)
        name = picture.as_posix() if isinstance(picture, Path) else table.place(i)
        pictures.append(_below(base, name, table.where(i, column)) if isinstance(picture, Path) else picture)
        named.append(name)
    return pictures, Texts.of(named), False


def _may_be_odd(names: Texts) -> bool:
    """Whether `_plain` may change one of them, told from their bytes."""
    ends = names.ends[1:][np.diff(names.ends) > 0]
    last = np.frombuffer(names.content, np.uint8)[ends - 1]
    inside = any(mark in names.content for mark in (b"//", b"./", *([os.sep.encode()] if os.sep != "/" else [])))
    return inside or bool(np.isin(last, [ord("/"), ord(".")]).any())


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
    lost = lacking(base, names)
    if lost is not None:
        raise DataError(f"{table.where(first + lost, column)}: there is no file {names[lost]!r} in {base}")


def _rows_by_split(table: Table, column: str) -> dict[str, np.ndarray]:
    """Indices of the rows of each split, in order."""
    if column not in table.cells:
        return {"train": np.arange(len(table))} if len(table) else {}
    cells = Categorical[Any].of(table.cells[column])
    keys = cells.map(lambda value: SPLIT_NAMES.get(str(value).strip().lower(), ""))
    bad = np.flatnonzero((keys.codes < 0) | keys.is_one_of([""]))
    if len(bad):
        raise DataError(f"{table.where(int(bad[0]), column)} is {cells[int(bad[0])] or ''!r}: give train, val or test")
    return {key: chosen for key in ("train", "val", "test") if len(chosen := np.flatnonzero(keys.is_one_of([key])))}


def _labels(table: Table, column: str) -> Categorical[Label]:
    values = table.cells[column]
    for i, value in enumerate(() if isinstance(values, Cells) else values):
        if value is not None and not isinstance(value, str | int | float | bytes):
            as_label(value, table.where(i, column))
            raise DataError(f"{table.where(i, column)} is {value!r}: give a name or an integer")
    cells = Categorical[Any].of(values)
    if all(isinstance(value, float) and value.is_integer() for value in cells.values):
        cells = cells.map(int)  # integers that a null made floats

    def label(value: Any) -> Label:
        if type(value) in (str, int):
            return value  # type: ignore[no-any-return]
        where = table.where(int(np.flatnonzero(cells.is_one_of([value]))[0]), column)
        made = str(value) if isinstance(value, bool) else as_label(value, where)
        if not isinstance(value, str | int | bytes):
            raise DataError(f"{where} is {value!r}: give a name or an integer")
        return made

    return cells.map(label)


def _note(table: Table, column: str) -> list[str]:
    texts = sorted(text for text in table.empty[column] if text.strip())
    return [f"labels {', '.join(map(repr, texts))} are taken for no label"] if texts else []
