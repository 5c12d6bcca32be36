"""Reading zip archives whose records are stored uncompressed and do not overlap."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any, BinaryIO

from xfer.weights.malformed import MalformedError

MAGIC = b"PK\x03\x04"
MAX_DIRECTORY = 4 << 20  # bytes of the list of records
MAX_RECORDS = 50_000


class Archive:
    """The records of an archive by name; nothing is ever unpacked to disk, so names lead nowhere.

    Args:
        file: the archive.
        size: its bytes.

    Raises:
        MalformedError: no zip; records that are there twice, or together larger than the file, as those are that
            overlap; more of them than weights have.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.size = size
        reader = _Frugal(file, size)
        self._zip = _checked(lambda: zipfile.ZipFile(reader))  # type: ignore[call-overload]
        reader.limit = size
        entries = self._zip.infolist()
        self.names = frozenset(entry.filename for entry in entries)
        if len(entries) > MAX_RECORDS or len(self.names) != len(entries):
            raise MalformedError(f"it has {len(entries):,} records, some of one name or too many")
        if sum(entry.compress_size for entry in entries) > size:
            raise MalformedError("its records are larger than the file: they overlap or lie")

    def read(self, name: str) -> bytes:
        """The bytes of a record, their CRC-32 checked.

        Raises:
            MalformedError: there is none of that name, or it is compressed, encrypted or damaged.
        """
        if name not in self.names:
            raise MalformedError(f"its record {name[:80]!r} is missing")
        entry = self._zip.getinfo(name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size != entry.compress_size:
            raise MalformedError("its records are compressed or encrypted, which torch, Keras and skops never do")
        return bytes(_checked(lambda: self._zip.read(entry)))


class _Frugal:
    """A file that gives no more than a limit at a time: Python reads an archive's whole list of records at once."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self.limit = file, size, MAX_DIRECTORY
        self.tell, self.seek = file.tell, file.seek

    def seekable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        left = self._size - self._file.tell()
        wanted = left if count < 0 else min(count, left)
        if wanted > self.limit:
            raise MalformedError("its list of records is too long")
        return self._file.read(wanted)


def _checked(action: Any) -> Any:
    """What a reader gives. Damaged bytes lead it to errors of many kinds; each of these is known from fuzzing."""
    try:
        return action()
    except (
        zipfile.BadZipFile,
        zlib.error,
        io.UnsupportedOperation,
        NotImplementedError,
        RuntimeError,
        EOFError,
        LookupError,
        ValueError,
        OverflowError,
    ) as error:
        raise MalformedError(f"it is a damaged zip ({_line(error)})") from None


def _line(error: Exception) -> str:
    return ascii(str(error) or type(error).__name__)[1:-1][:100]
