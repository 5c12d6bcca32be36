"""CSV and Parquet files that list images."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data.columns import is_empty
from xfer.data.dataset import Data
from xfer.data.sources.assembly import SPLIT_NAMES, Label, Part, assemble
from xfer.data.sources.paths import existing
from xfer.data.sources.pixels import as_label, as_picture
from xfer.data.sources.targets import assemble_tasks
from xfer.errors import DataError
from xfer.specs.loss import TaskKind

Row = tuple[str, Mapping[str, Any]]


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
) -> Data:
    """Images that a table lists: a UTF-8 `.csv` or `.tsv` with a header, or a `.parquet` file.

    The classes are the sorted labels; a row whose label is empty has none. Parquet may hold encoded images (bytes, or
    Hugging Face's struct of bytes and path) in place of paths.

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

    Raises:
        DataError: what is wrong in the table, by line and column.
    """
    table = existing(path)
    base = table.parent if root is None else existing(root)
    header, rows = _parquet(table) if table.suffix.lower() == ".parquet" else _csv(table)
    asked = [label] if tasks is None else list(tasks)
    for column in (image, *asked, *columns, *([split] if split != "split" else [])):
        if column not in header:
            raise DataError(f"{table} has no column {column!r}: its columns are {_quoted(header)}")
    found: dict[str, list[tuple[Any, Label | None, str]]] = {}
    beside: dict[str, list[Mapping[str, Any]]] = {}
    for place, row in rows:
        where = f"{table} {place}"
        key = _split_key(row[split], where, split) if split in header else "train"
        picture, name = _picture(row[image], base, where, image)
        answer = _label(row[label], where, label) if tasks is None else None
        found.setdefault(key, []).append((picture, answer, name or place))
        beside.setdefault(key, []).append({"where": where, **{column: row[column] for column in (*asked, *columns)}})
    if "train" not in found:
        raise DataError(f"{table} lists no training images")
    parts = {key: _part(samples) for key, samples in found.items()}
    if columns:
        parts = {key: replace(part, columns=_cells(beside[key], columns)) for key, part in parts.items()}
    if tasks is not None:
        return assemble_tasks(parts, beside, tasks, source=str(table), val=val, seed=seed, column_names=columns)
    return assemble(parts, source=str(table), val=val, seed=seed, column_names=columns)


def _part(samples: Sequence[tuple[Any, Label | None, str]]) -> Part:
    images, labels, names = map(list, zip(*samples, strict=True))
    return Part(images, labels, names)


def _cells(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> np.ndarray:
    """Objects (N, C); None where a cell is empty."""
    cells = np.empty((len(rows), len(columns)), object)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            cells[i, j] = None if is_empty(row[column]) else row[column]
    return cells


def _csv(table: Path) -> tuple[list[str], Iterator[Row]]:
    if not table.is_file():
        raise DataError(f"{table} is no plain file: give a table")
    delimiter = "\t" if table.suffix.lower() == ".tsv" else ","
    try:
        text = table.read_bytes().decode("utf-8-sig")  # Excel begins a file with a byte order mark
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    lines = _csv_lines(table, reader)
    _, columns = next(lines, ("", []))
    return columns, _csv_rows(table, columns, lines)


def _csv_lines(table: Path, reader: Any) -> Iterator[tuple[str, list[str]]]:
    try:
        for fields in reader:
            if fields:
                yield f"line {reader.line_num}", fields
    except csv.Error as error:
        raise DataError(f"{table} line {reader.line_num}: not valid CSV: {error}") from None


def _csv_rows(table: Path, columns: list[str], lines: Iterator[tuple[str, list[str]]]) -> Iterator[Row]:
    for place, fields in lines:
        if len(fields) != len(columns):
            raise DataError(f"{table} {place}: {len(fields)} fields, but the header names {len(columns)} columns")
        yield place, dict(zip(columns, fields, strict=True))


def _parquet(table: Path) -> tuple[list[str], Iterator[Row]]:
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError as missing:
        raise DataError(f'{table} needs {missing.name} to be read: pip install "xfer-learn[parquet]"') from None
    try:
        frame = pandas.read_parquet(table, engine="pyarrow")
    except Exception as error:  # Arrow and pandas raise whatever damaged bytes lead them to
        raise DataError(f"{table} is not a Parquet file: {error}") from None
    columns = [str(column) for column in frame.columns]
    rows = (dict(zip(columns, values, strict=True)) for values in frame.itertuples(index=False))
    return columns, ((f"row {number}", row) for number, row in enumerate(rows, 1))


def _picture(value: Any, base: Path, where: str, column: str) -> tuple[Any, str]:
    if is_empty(value):
        raise DataError(f"{where}: column {column!r} is empty: give the path of an image")
    picture = as_picture(value, f"{where}: column {column!r}")
    if not isinstance(picture, Path):
        return picture, ""
    try:
        there = (base / picture).is_file()
    except OSError:  # such as a name that is too long
        there = False
    if not there:
        raise DataError(f"{where}: column {column!r}: there is no file {str(picture)!r} in {base}")
    return base / picture, picture.as_posix()


def _label(value: Any, where: str, column: str) -> Label | None:
    return None if is_empty(value) else as_label(value, f"{where}: column {column!r}")


def _split_key(value: Any, where: str, column: str) -> str:
    key = SPLIT_NAMES.get(str(value).strip().lower())
    if key is None:
        raise DataError(f"{where}: column {column!r} is {value!r}: give train, val or test")
    return key


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
