"""CSV and Parquet files that list images."""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data.dataset import Data
from xfer.data.empty import is_empty
from xfer.data.sources.assembly import SPLIT_NAMES, Label, Part, assemble
from xfer.data.sources.paths import Files, existing
from xfer.data.sources.pixels import as_label, as_picture
from xfer.data.sources.targets import assemble_tasks
from xfer.errors import DataError
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

    Raises:
        DataError: what is wrong in the table, by line and column.
    """
    file = existing(path)
    base = file.parent if root is None else existing(root)
    asked = [label] if tasks is None else list(tasks)
    wanted = [image, *asked, *columns, *([split] if split != "split" else [])]
    read = _parquet if file.suffix.lower() == ".parquet" else _csv
    table = read(file, tuple(dict.fromkeys(wanted)), split)
    pictures, names, files = _pictures(table, image, base)
    rows = _rows_by_split(table, split)
    if "train" not in rows:
        raise DataError(f"{file} lists no training images")
    labels = _labels(table, label) if tasks is None else [None] * len(names)
    cells = _cells(table, columns)
    parts = {
        key: Part(_taken(pictures, chosen), _taken(labels, chosen), _taken(names, chosen), cells[chosen], files)
        for key, chosen in rows.items()
    }
    if not columns:
        parts = {key: replace(part, columns=None) for key, part in parts.items()}
    options: dict[str, Any] = {"source": str(file), "val": val, "seed": seed, "column_names": columns}
    if tasks is None:
        return assemble(parts, notes=_note(table, label), **options)
    beside = {key: [table.row(i, asked) for i in chosen.tolist()] for key, chosen in rows.items()}
    return assemble_tasks(parts, beside, tasks, **options)


@dataclass(frozen=True)
class _Table:
    """The columns that are asked for.

    Args:
        file: the table's path.
        cells: by column; None where a cell is empty.
        place: where a row stands, in words, by its index.
        empty: the texts that were taken for no value, by column.
    """

    file: Path
    cells: Mapping[str, list[Any]]
    place: Callable[[int], str]
    empty: Mapping[str, set[str]]

    def where(self, index: int, column: str) -> str:
        return f"{self.file} {self.place(index)}: column {column!r}"

    def row(self, index: int, columns: Sequence[str]) -> dict[str, Any]:
        """The cells of a row by column, and "where" it stands."""
        return {"where": f"{self.file} {self.place(index)}", **{name: self.cells[name][index] for name in columns}}


def _csv(file: Path, wanted: Sequence[str], split: str) -> _Table:
    if not file.is_file():
        raise DataError(f"{file} is no plain file: give a table")
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:  # Excel begins a file with a byte order mark
            reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
            return _csv_cells(file, reader, wanted, split)
    except csv.Error as error:
        raise DataError(f"{file} line {reader.line_num}: not valid CSV: {error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8 (byte {_first_bad_byte(file)}): save it as UTF-8") from None


def _csv_cells(file: Path, reader: Any, wanted: Sequence[str], split: str) -> _Table:
    header: list[str] = next((fields for fields in reader if fields), [])
    chosen = _chosen(file, header, wanted, split)
    places = [header.index(name) for name in chosen]
    columns: list[list[str]] = [[] for _ in chosen]
    lines, known, width = array("q"), dict[str, str](), len(header)
    appends = [column.append for column in columns]
    for fields in reader:
        if len(fields) != width:
            if not fields:
                continue
            raise DataError(
                f"{file} line {reader.line_num}: {len(fields)} fields, but the header names {width} columns"
            )
        lines.append(reader.line_num)
        appends[0](fields[places[0]])
        for append, place in zip(appends[1:], places[1:], strict=True):
            append(known.setdefault(fields[place], fields[place]))  # one object a text: labels are few
    cells, empty = {}, {}
    for name, column in zip(chosen, columns, strict=True):
        absent = {text for text in set(column) if is_empty(text)}
        cells[name] = [None if text in absent else text for text in column] if absent else column
        empty[name] = absent
    return _Table(file, cells, lambda index: f"line {lines[index]}", empty)


def _first_bad_byte(file: Path) -> int:
    try:
        file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _parquet(file: Path, wanted: Sequence[str], split: str) -> _Table:
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError(f'{file} needs pyarrow to be read: pip install "xfer-learn[parquet]"') from None
    try:
        header = list(parquet.read_schema(file).names)
        chosen = _chosen(file, header, wanted, split)
        cells, empty = {}, {}
        for name in chosen:  # one after the other: all of them at once would need twice the memory
            column = parquet.read_table(file, columns=[name]).column(0).to_pylist()
            empty[name] = {cell for cell in column if isinstance(cell, str) and is_empty(cell)}
            cells[name] = [None if is_empty(cell) else cell for cell in column]
            if name != wanted[0]:
                known: dict[str, str] = {}  # one object a text
                cells[name] = [known.setdefault(c, c) if isinstance(c, str) else c for c in cells[name]]
    except DataError:
        raise
    except Exception as error:  # Arrow raises whatever damaged bytes lead it to
        raise DataError(f"{file} is not a Parquet file: {error}") from None
    return _Table(file, cells, lambda index: f"row {index + 1}", empty)


def _chosen(file: Path, header: Sequence[str], wanted: Sequence[str], split: str) -> tuple[str, ...]:
    """The columns to read: those wanted, and that of the split if it is there.

    Raises:
        DataError: one is not there, or there twice.
    """
    chosen = tuple(dict.fromkeys([*wanted, *([split] if split in header else [])]))
    for column in chosen:
        if column not in header:
            raise DataError(f"{file} has no column {column!r}: its columns are {_quoted(header)}")
        if header.count(column) > 1:
            raise DataError(f"{file} has two columns {column!r}: rename one")
    return chosen


def _pictures(table: _Table, column: str, base: Path) -> tuple[Any, list[str], bool]:
    """Images, their names, and whether all are files.

    Raises:
        DataError: an empty cell, or a file that is not there, by line.
    """
    values = table.cells[column]
    for i, value in enumerate(values):
        if value is None:
            raise DataError(f"{table.where(i, column)} is empty: give the path of an image")
    if all(isinstance(value, str) for value in values):
        names = [_plain(value) for value in values]
        _check_files(table, column, base, names)
        return Files(str(base), names), names, True
    pictures, names = [], []
    for i, value in enumerate(values):
        picture = as_picture(value, table.where(i, column))
        if isinstance(picture, Path):
            _check_files(table, column, base, [picture.as_posix()], i)
        pictures.append(base / picture if isinstance(picture, Path) else picture)
        names.append(picture.as_posix() if isinstance(picture, Path) else table.place(i))
    return pictures, names, False


def _plain(name: str) -> str:
    """A path with one slash between its parts, and no dot for the folder itself."""
    odd = "//" in name or "./" in name or name.endswith(("/", "/.")) or (os.sep != "/" and os.sep in name)
    return Path(name).as_posix() if odd else name


def _check_files(table: _Table, column: str, base: Path, names: Sequence[str], first: int = 0) -> None:
    """Every folder is listed once; a file is only looked for where the list has no such name."""
    listed: dict[str, set[str]] = {}
    for i, name in enumerate(names):
        folder, _, last = name.rpartition("/")
        if folder not in listed:
            root = "/" if not folder and name.startswith("/") else folder
            listed[folder] = set(_files_in(base / root)) if len(names) > 1 else set()
        if last not in listed[folder] and not _is_file(base / name):
            raise DataError(f"{table.where(first + i, column)}: there is no file {name!r} in {base}")


def _files_in(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if entry.is_file())
    except OSError:  # it is not there, or may not be listed
        return


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # such as a name that is too long
        return False


def _rows_by_split(table: _Table, column: str) -> dict[str, np.ndarray]:
    """Indices of the rows of each split, in order."""
    if column not in table.cells:
        return {"train": np.arange(_length(table))} if _length(table) else {}
    keys = {value: SPLIT_NAMES.get(str(value).strip().lower()) for value in set(table.cells[column])}
    for i, value in enumerate(table.cells[column]):
        if keys[value] is None:
            raise DataError(f"{table.where(i, column)} is {value or ''!r}: give train, val or test")
    assigned = np.array([keys[value] for value in table.cells[column]], object)
    return {key: np.flatnonzero(assigned == key) for key in ("train", "val", "test") if (assigned == key).any()}


def _length(table: _Table) -> int:
    return len(next(iter(table.cells.values())))


def _labels(table: _Table, column: str) -> list[Label | None]:
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


def _cells(table: _Table, columns: Sequence[str]) -> np.ndarray:
    """Objects (N, C); None where a cell is empty."""
    cells = np.empty((_length(table), len(columns)), object)
    for j, column in enumerate(columns):
        cells[:, j] = table.cells[column]
    return cells


def _note(table: _Table, column: str) -> list[str]:
    texts = sorted(text for text in table.empty[column] if text.strip())
    return [f"labels {', '.join(map(repr, texts))} are taken for no label"] if texts else []


def _taken(values: Any, chosen: np.ndarray) -> Any:
    """The values at these places; all of them as they are."""
    if len(chosen) == len(values):
        return values
    if isinstance(values, Files):
        return Files(values.root, [values.names[i] for i in chosen.tolist()])
    return [values[i] for i in chosen.tolist()]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
