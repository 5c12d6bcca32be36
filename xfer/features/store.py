"""Cached features on disk, found by digests: files that only grow, each by one writer, read as if they were one.

A segment begins with a header, which says the shape and dtype of its rows. Then come records: a digest, a CRC-32 of
header, digest and row, zeros up to 64 bytes, and the row. A writer begins a segment of its own and touches no other. So
writers never wait for each other, segments of another machine are added by copying the files, and nothing is ever
repaired: a record that a kill has cut off or that is damaged fails its checksum, and its row is not there.
"""

from __future__ import annotations

import json
import os
import uuid
import zlib
from collections.abc import Collection, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from xfer.runtime.strict_json import parse

SUFFIX = ".rows"
DIGEST = 32
_HEADER = 256
_MARK = 64  # so that rows are aligned
_DIMENSIONS = 8
_AT_ONCE = 1 << 16  # records
_ROWS = 1 << 40  # of a segment, at most


class Places(Mapping[bytes, tuple[int, int]]):
    """The store and the number of a row, by its digest.

    Args:
        codes: by digest, store * 2^40 + number: one object where a pair would be three.
    """

    def __init__(self, codes: dict[bytes, int]) -> None:
        self._codes = codes

    def __getitem__(self, digest: bytes) -> tuple[int, int]:
        return divmod(self._codes[digest], _ROWS)

    def __contains__(self, digest: object) -> bool:
        return digest in self._codes

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)

    def keys(self) -> KeysView[bytes]:
        """The digests, as a set."""
        return self._codes.keys()


@dataclass(frozen=True, eq=False)
class Found:
    """Cached features that were found.

    Args:
        stores: one (n, *shape) for each segment, mapped into memory.
        places: where the rows are.
        paths: the files of the stores.
    """

    stores: tuple[np.ndarray, ...]
    places: Places
    paths: tuple[Path, ...]

    @property
    def idle(self) -> list[Path]:
        """Segments that have none of the rows."""
        busy = {store for store, _ in self.places.values()}
        return [path for store, path in enumerate(self.paths) if store not in busy]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row; 0 where none was found."""
        return next((self.stores[store][0].nbytes for store, _ in self.places.values()), 0)


def find(folder: Path, wanted: Collection[bytes]) -> Found:
    """The rows of the digests `wanted` in all segments of a folder, each checked against its checksum."""
    stores: list[np.ndarray] = []
    paths: list[Path] = []
    codes: dict[bytes, int] = {}
    asked = _Wanted(wanted)
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        opened = _open(path)
        if opened is None:
            continue
        header, records = opened
        for number, digest in asked.among(records):
            if digest not in codes and _whole(header, digest, records[number]):
                codes[digest] = len(stores) * _ROWS + number
        stores.append(records["row"])
        paths.append(path)
    return Found(tuple(stores), Places(codes), tuple(paths))


def size(rows: int, row_bytes: int) -> int:
    """Bytes that rows take on disk."""
    return rows * (_MARK + row_bytes)


class Writer:
    """Writes one segment, which is begun with the first row.

    Args:
        folder: one that is there.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        self._file: BinaryIO | None = None

    @property
    def written(self) -> bool:
        """Whether there is a row in it."""
        return self._file is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, digests: Sequence[bytes], rows: np.ndarray) -> None:
        """Put rows (N, ...), float32 or float64, onto the disk.

        Raises:
            OSError: the disk is full, or the folder is gone.
        """
        header = _header(rows)
        records = np.zeros(len(rows), _record(rows.shape[1:], rows.dtype.str))
        records["digest"] = np.frombuffer(b"".join(digests), f"V{DIGEST}")
        records["check"] = [_check(header, digest, row) for digest, row in zip(digests, rows, strict=True)]
        records["row"] = rows
        if self._file is None:
            self._file = self.path.open("xb")
            self._file.write(header)
        self._file.write(records.tobytes())
        self._file.flush()
        os.fsync(self._file.fileno())


def _header(rows: np.ndarray) -> bytes:
    return json.dumps({"shape": rows.shape[1:], "dtype": rows.dtype.str}).encode().ljust(_HEADER)


def _record(shape: tuple[int, ...], dtype: str) -> np.dtype[Any]:
    spare = _MARK - DIGEST - 4
    return np.dtype([("digest", f"V{DIGEST}"), ("check", "<u4"), ("spare", f"V{spare}"), ("row", dtype, shape)])


def _check(header: bytes, digest: bytes, row: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(row).data, zlib.crc32(header + digest))


def _whole(header: bytes, digest: bytes, record: np.void) -> bool:
    """Whether a record is what its writer wrote: the checksum's part of it, and zeros in what is spare."""
    return bool(record["check"] == _check(header, digest, record["row"])) and not any(bytes(record["spare"]))


class _Wanted:
    """Digests, found by their first eight bytes."""

    def __init__(self, digests: Collection[bytes]) -> None:
        self._digests = list(digests)
        words = _words(np.frombuffer(b"".join(self._digests), f"V{DIGEST}"))
        self._order = np.argsort(words)
        self._words = words[self._order]

    def among(self, records: np.ndarray) -> Iterator[tuple[int, bytes]]:
        """The records that are wanted; of a huge file, no more at a time than memory bears."""
        for start in range(0, len(records), _AT_ONCE):
            digests = np.ascontiguousarray(records["digest"][start : start + _AT_ONCE])
            words = _words(digests)
            first, last = (np.searchsorted(self._words, words, side) for side in ("left", "right"))
            for number in np.flatnonzero(first < last).tolist():
                found = digests[number].tobytes()
                for place in self._order[first[number] : last[number]].tolist():
                    if self._digests[place] == found:
                        yield start + number, self._digests[place]  # not a second object for it


def _words(digests: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(digests.view("<u8")[:: DIGEST // 8])


def _open(path: Path) -> tuple[bytes, np.ndarray] | None:
    """The header and the whole records of a segment; None where there is none."""
    try:
        if not path.is_file():  # to open a pipe would wait for ever
            return None
        with path.open("rb") as file:
            header = file.read(_HEADER)
        match parse(header):
            case {"shape": list() as shape, "dtype": ("<f4" | "<f8") as dtype, **rest} if not rest:
                pass
            case _:
                return None
        if len(shape) > _DIMENSIONS or not all(type(n) is int and n > 0 for n in shape):
            return None
        record = _record(tuple(shape), dtype)
        number = (path.stat().st_size - _HEADER) // record.itemsize
        if number < 1:
            return None
        return header, np.asarray(np.memmap(path, record, "r", offset=_HEADER, shape=(number,)))
    except (OSError, ValueError, OverflowError):
        return None
