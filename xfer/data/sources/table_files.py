"""The columns of CSV and Parquet files."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from xfer.data.empty import is_empty
from xfer.data.sources.cells import Cells, CellsBuilder
from xfer.data.sources.paths import AnyPath
from xfer.data.texts import Texts
from xfer.errors import DataError

T = TypeVar("T")
_ROWS = 4096  # of a CSV file that are Python objects at once
_ARROW_TEXTS = ("string", "large_string", "dictionary<values=string", "dictionary<values=large_string")


@dataclass(frozen=True)
class Table:
    """The columns that are asked for.

    Args:
        file: the table's path.
        cells: by column; None where a cell is empty. Texts are `Cells`.
        place: where a row stands, in words, by its index.
        empty: the texts that were taken for no value, by column.
    """

    file: AnyPath
    cells: Mapping[str, Sequence[Any]]
    place: Callable[[int], str]
    empty: Mapping[str, frozenset[str]]

    def __len__(self) -> int:
        return len(next(iter(self.cells.values())))

    def where(self, index: int, column: str) -> str:
        """A cell in words, for errors."""
        return f"{self.file} {self.place(index)}: column {column!r}"

    def row(self, index: int, columns: Sequence[str]) -> dict[str, Any]:
        """The cells of a row by column, and "where" it stands."""
        return {"where": f"{self.file} {self.place(index)}", **{name: self.cells[name][index] for name in columns}}

    def filled(self, column: str) -> Sequence[Any]:
        """The cells of the column of images: texts, or a list.

        Raises:
            DataError: an empty one, by line.
        """
        values = self.cells[column]
        if isinstance(values, Cells) and not values.empty:
            return values.texts
        for i, value in enumerate(values):
            if value is None:
                raise DataError(f"{self.where(i, column)} is empty: give the path of an image")
        return values

    def array(self, columns: Sequence[str]) -> np.ndarray:
        """Objects (N, C) of columns; None where a cell is empty."""
        cells = np.empty((len(self), len(columns)), object)
        known: dict[str, str] = {}  # one object a text
        for j, column in enumerate(columns):
            each = (known.setdefault(cell, cell) if isinstance(cell, str) else cell for cell in self.cells[column])
            for i, cell in enumerate(each):
                cells[i, j] = cell
        return cells


@dataclass(frozen=True)
class TableRows(Sequence[Mapping[str, Any]]):
    """Rows of a table, each made when it is asked for.

    Args:
        table: of which they are.
        columns: their names.
        indices: int64 (N,), which rows.
    """

    table: Table
    columns: Sequence[str]
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        return self.table.row(int(self.indices[index]), self.columns)


def header(file: AnyPath) -> list[str]:
    """The names of the columns of a table.

    Raises:
        DataError: it cannot be read.
    """
    return _parquet_header(file) if file.suffix.lower() == ".parquet" else _reading_csv(file, _csv_header)


def read_table(file: AnyPath, wanted: Sequence[str], split: str | None = None) -> Table:
    """Columns of a UTF-8 `.csv` or `.tsv` with a header, or of a `.parquet` file.

    Args:
        file: the table.
        wanted: the names of the columns.
        split: of one more, if it is there.

    Raises:
        DataError: it cannot be read, or a column is not there, or twice.
    """
    read = _parquet if file.suffix.lower() == ".parquet" else _csv
    return read(file, wanted, split)


def _csv(file: AnyPath, wanted: Sequence[str], split: str | None) -> Table:
    return _reading_csv(file, lambda reader: _csv_cells(file, reader, wanted, split))


def _reading_csv(file: AnyPath, read: Callable[[Any], T]) -> T:
    """What `read` makes of the rows of a file.

    Raises:
        DataError: no plain file, not UTF-8, or not CSV.
    """
    if not file.is_file():
        raise DataError(f"{file} is no plain file: give a table")
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    reader: Any = None
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:  # Excel begins a file with a byte order mark
            reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
            return read(reader)
    except csv.Error as error:
        raise DataError(f"{file} line {reader.line_num}: not valid CSV: {error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8 (byte {_first_bad_byte(file)}): save it as UTF-8") from None


def _csv_header(reader: Any) -> list[str]:
    return next((fields for fields in reader if fields), [])


def _csv_cells(file: AnyPath, reader: Any, wanted: Sequence[str], split: str | None) -> Table:
    header = _csv_header(reader)
    chosen = _chosen(file, header, wanted, split)
    places = [header.index(name) for name in chosen]
    columns = [CellsBuilder() for _ in chosen]
    lines, width, rows = array("q"), len(header), list[list[str]]()

    def put() -> None:
        for column, place in zip(columns, places, strict=True):
            column.extend([fields[place] for fields in rows])
        rows.clear()

    for fields in reader:
        if len(fields) != width:
            if not fields:
                continue
            raise DataError(
                f"{file} line {reader.line_num}: {len(fields)} fields, but the header names {width} columns"
            )
        lines.append(reader.line_num)
        rows.append(fields)
        if len(rows) == _ROWS:
            put()
    put()
    cells = {name: column.build() for name, column in zip(chosen, columns, strict=True)}
    empty = {name: column.empty for name, column in cells.items()}
    return Table(file, cells, lambda index: f"line {lines[index]}", empty)


def _first_bad_byte(file: AnyPath) -> int:
    try:
        file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _parquet(file: AnyPath, wanted: Sequence[str], split: str | None) -> Table:
    cells, empty = dict[str, Sequence[Any]](), {}
    for name in _chosen(file, _parquet_header(file), wanted, split):  # all at once would need twice the memory
        column = _parquet_column(file, name)
        if isinstance(column, Cells):
            cells[name], empty[name] = column, column.empty
        else:
            empty[name] = frozenset(cell for cell in column if isinstance(cell, str) and is_empty(cell))
            cells[name] = [None if is_empty(cell) else cell for cell in column]
    return Table(file, cells, lambda index: f"row {index + 1}", empty)


def _parquet_column(file: AnyPath, name: str) -> Sequence[Any]:
    """`Cells` of a column of texts, else a list."""

    def read(parquet: Any, source: Any) -> Sequence[Any]:
        column = parquet.read_table(source, columns=[name]).column(0)
        if not str(column.type).startswith(_ARROW_TEXTS):
            return list(column.to_pylist())
        found = CellsBuilder()
        for chunk in column.chunks:
            found.append(_texts(chunk))
        return found.build()

    return _reading_parquet(file, read)


def _texts(chunk: Any) -> Texts:
    """The texts of an array of Arrow, empty where it has none."""
    found = chunk.cast("large_string").fill_null("")
    found.validate(full=True)
    _, ends, content = found.buffers()
    places = np.frombuffer(ends, np.int64, len(found) + 1, 8 * found.offset)
    return Texts(bytes(content or b"")[places[0] : places[-1]], places - places[0])


def _parquet_header(file: AnyPath) -> list[str]:
    return _reading_parquet(file, lambda parquet, source: list(parquet.read_schema(source).names))


def _reading_parquet(file: AnyPath, read: Callable[[Any, Any], T]) -> T:
    """What `read` makes of `pyarrow.parquet` and the file.

    Raises:
        DataError: pyarrow is not there, or the file is damaged.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError(f'{file} needs pyarrow to be read: pip install "xfer-learn[parquet]"') from None
    try:
        return read(parquet, file if isinstance(file, Path) else file.open("rb"))
    except DataError:
        raise
    except Exception as error:  # Arrow raises whatever damaged bytes lead it to
        raise DataError(f"{file} is not a Parquet file: {error}") from None


def _chosen(file: AnyPath, header: Sequence[str], wanted: Sequence[str], split: str | None) -> tuple[str, ...]:
    """The columns to read: those wanted, and that of the split if it is there.

    Raises:
        DataError: one is not there, or there twice.
    """
    chosen = tuple(dict.fromkeys([*wanted, *([split] if split is not None and split in header else [])]))
    for column in chosen:
        if column not in header:
            raise DataError(f"{file} has no column {column!r}: its columns are {_quoted(header)}")
        if header.count(column) > 1:
            raise DataError(f"{file} has two columns {column!r}: rename one")
    return chosen


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
