"""Formats of tables that are written in parts, which are joined at the end: CSV, JSON lines and Parquet."""

from __future__ import annotations

import csv
import io
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from xfer.errors import CheckpointError, UsageError, first_line
from xfer.workflows.prediction.table import Table

_ROWS, _BYTES = 1 << 16, 32 << 20  # of a row group of Parquet: the first of the two that is reached


class Format(ABC):
    """How rows become bytes. The file depends on the rows and on where its parts end, and on nothing else."""

    @abstractmethod
    def part(self, table: Table) -> bytes:
        """Some rows."""

    @abstractmethod
    def join(self, header: Table, parts: Iterable[IO[bytes]], out: IO[bytes]) -> None:
        """Write a whole file of parts, which are read one after the other.

        Args:
            header: the columns, without a row.
            parts: open files, each at the beginning of what `part` made.
            out: is written to, from its beginning on.
        """


class Csv(Format):
    """UTF-8 with a header; a cell without a value is empty. Names of files are written in their own bytes."""

    def part(self, table: Table) -> bytes:
        """Rows in the order of the columns."""
        return _csv_bytes(zip(*(column.values for column in table.values()), strict=True))

    def join(self, header: Table, parts: Iterable[IO[bytes]], out: IO[bytes]) -> None:
        """The header, and the rows."""
        out.write(_csv_bytes([tuple(header)]))
        for part in parts:
            shutil.copyfileobj(part, out)


class JsonLines(Format):
    """An object a line, in ASCII; a byte of a name that is not UTF-8 is the escape of a surrogate, as in Python."""

    def part(self, table: Table) -> bytes:
        """Objects with the columns as keys."""
        rows = zip(*(column.values for column in table.values()), strict=True)
        return "".join(json.dumps(dict(zip(table, row, strict=True))) + "\n" for row in rows).encode()

    def join(self, header: Table, parts: Iterable[IO[bytes]], out: IO[bytes]) -> None:
        """The rows."""
        for part in parts:
            shutil.copyfileobj(part, out)


class Parquet(Format):
    """A byte of a name that is not UTF-8 is written as \\xff; probabilities are float32.

    Raises:
        UsageError: pyarrow is not installed.
    """

    def __init__(self) -> None:
        try:
            import pyarrow.parquet
        except ImportError:
            raise UsageError('a .parquet file is written by pyarrow: pip install "xfer-learn[parquet]"') from None
        self._arrow: Any = pyarrow

    def part(self, table: Table) -> bytes:
        """A stream of Arrow's."""
        found = self._table(table)
        out = io.BytesIO()
        with self._arrow.ipc.new_stream(out, found.schema) as stream:
            stream.write_table(found)
        return out.getvalue()

    def join(self, header: Table, parts: Iterable[IO[bytes]], out: IO[bytes]) -> None:
        """Row groups of several parts each, for small ones are read slowly."""
        empty = self._table(header)
        with self._arrow.parquet.ParquetWriter(out, empty.schema) as writer:
            group = [empty]
            for part in parts:
                group.append(self._read(part, empty.schema))
                if sum(map(len, group)) >= _ROWS or sum(table.nbytes for table in group) >= _BYTES:
                    self._write(writer, group)
                    group = [empty]
            self._write(writer, group)

    def _read(self, part: IO[bytes], schema: Any) -> Any:
        try:
            found = self._arrow.ipc.open_stream(part).read_all()
        except self._arrow.ArrowException as error:
            raise CheckpointError(f"{part.name} is damaged: {first_line(error)}; remove it") from None
        if found.schema != schema:
            raise CheckpointError(f"{part.name} has other columns than the table: remove it")
        return found

    def _write(self, writer: Any, group: list[Any]) -> None:
        rows = self._arrow.concat_tables(group).combine_chunks()
        if len(rows):
            writer.write_table(rows, row_group_size=len(rows))

    def _table(self, table: Table) -> Any:
        types = {"text": self._arrow.string(), "float32": self._arrow.float32(), "float64": self._arrow.float64()}
        arrays = [
            self._arrow.array([_unicode(v) for v in c.values] if c.kind == "text" else c.values, types[c.kind])
            for c in table.values()
        ]
        return self._arrow.table(arrays, names=[_unicode(name) for name in table])


FORMATS: dict[str, type[Format]] = {".csv": Csv, ".jsonl": JsonLines, ".parquet": Parquet}


def format_of(path: Path) -> Format:
    """The format that the end of a path names.

    Raises:
        UsageError: another, or a package that is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path} is no table: give a path that ends with {', '.join(FORMATS)}")
    return FORMATS[path.suffix.lower()]()


def _csv_bytes(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _unicode(text: str | None) -> str | None:
    return None if text is None else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
