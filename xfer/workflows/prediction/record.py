"""The record beside a table of predictions: what it is made from, and whether it is finished."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xfer.checkpoints.documents import validated
from xfer.errors import CheckpointError, UsageError
from xfer.runtime import checksums
from xfer.runtime.files import write_atomically

_FORMAT = 2  # documents have a checksum from 2 on


@dataclass(frozen=True)
class Finished:
    """A table that is complete.

    Args:
        images: how many it has.
        unreadable: how many of them cannot be read.
        sha256: of the file.
    """

    images: int
    unreadable: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """What a table is made from.

    Args:
        job: all that decides its bytes, by name.
        finished: what it became, if it is complete.
    """

    job: dict[str, Any]
    finished: Finished | None = None

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """The record in a file; None where there is none.

        Raises:
            CheckpointError: it is damaged.
        """
        try:
            document = checksums.read(path, _FORMAT)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
        document.pop("format")
        return validated(cls, document, path)

    def write(self, path: Path) -> None:
        """Replace the file by this record."""
        write_atomically(path, checksums.with_checksum({"format": _FORMAT, **asdict(self)}))


def previous(path: Path, out: Path, job: dict[str, Any], begun: bool) -> Record | None:
    """The record of the same job, if it was begun or finished before; None to begin.

    Args:
        path: of the record.
        out: the table.
        job: what is asked for now; of batch size "auto", any.
        begun: whether parts of the table are there.

    Raises:
        UsageError: a table is there that is not this job's, or parts of another.
    """
    found = Record.read(path)
    if found is None or not (out.exists() if found.finished else begun):
        if out.exists():
            raise UsageError(f"{out} is there, and no record of how it was made: give another --out, or remove it")
        return None
    free = {"batch_size"} if job["batch_size"] == "auto" else set[str]()
    free |= {"versions"} if found.finished else set()
    if other := [name for name, value in job.items() if name not in free and found.job.get(name) != value]:
        what = "predictions" if found.finished else "interrupted predictions"
        rest = f"remove {out}" if found.finished else f"remove {path} to begin again"
        raise UsageError(f"{out} holds {what} with another {', '.join(other)}: give the same, another --out, or {rest}")
    if found.finished and sha256_of(out) != found.finished.sha256:
        raise UsageError(f"{out} was changed after it was written: give another --out, or remove it")
    return found


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
