"""The record beside a table of predictions: what it is made from, and whether it is finished."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from xfer.checkpoints.documents import validated
from xfer.errors import CheckpointError, UsageError
from xfer.runtime import checksums

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
        job: all else that decides its bytes, by name.
        batch_size: images of a forward pass.
        finished: what it became, if it is complete.
    """

    job: dict[str, Any]
    batch_size: Annotated[int, Field(ge=1)]
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

    def content(self) -> bytes:
        """The file of it."""
        return checksums.with_checksum({"format": _FORMAT, **asdict(self)})


def previous(
    path: Path, out: Path, job: dict[str, Any], batch_size: int | Literal["auto"], begun: bool
) -> Record | None:
    """The record of the same job, if it was begun or finished before; None to begin.

    Args:
        path: of the record.
        out: the table.
        job, batch_size: what is asked for now; "auto" is any.
        begun: whether parts of the table are there.

    Raises:
        UsageError: a table is there that is not this job's, or parts of another.
    """
    found = Record.read(path)
    if found is None or not (out.exists() if found.finished else begun):
        if out.exists():
            raise UsageError(f"{out} is there, and no record of how it was made: give another --out, or remove it")
        return None
    other = [name for name, value in job.items() if found.job.get(name) != value]
    if batch_size not in ("auto", found.batch_size):
        other.append("batch_size")
    if found.finished and "versions" in other:  # of an older installation, which does not matter any more
        other.remove("versions")
    if other:
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
