"""`ensemble.json`, checked before it is used."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from xfer.checkpoints import stored
from xfer.errors import CheckpointError
from xfer.runtime import checksums

if TYPE_CHECKING:
    from pydantic import TypeAdapter


MANIFEST = "ensemble.json"

FORMAT = 2  # 1 had no seal

MOST = 1000  # members


@dataclass(frozen=True)
class _Entry:
    run: str
    head: stored.StoredFile | None


@dataclass(frozen=True)
class _Document:
    """What `ensemble.json` says."""

    members: tuple[_Entry, ...]
    weights: tuple[float, ...]


def is_ensemble(path: str | Path) -> bool:
    """Whether `path` is a folder that `Ensemble.save` wrote."""
    return Path(path, MANIFEST).is_file()


@cache
def _adapter() -> TypeAdapter[_Document]:
    from pydantic import TypeAdapter

    return TypeAdapter(_Document)


def read_document(folder: Path) -> _Document:
    """What `ensemble.json` in a folder says, checked."""
    from pydantic import ValidationError

    try:
        document = _adapter().validate_python(checksums.read(folder / MANIFEST, FORMAT))
    except OSError as error:
        raise CheckpointError(f"{folder} is no ensemble: {MANIFEST} cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:100]
        raise CheckpointError(f"{folder / MANIFEST} is damaged: {where}: {first['msg'].splitlines()[0]}") from None
    if len(document.members) > MOST:
        raise CheckpointError(f"{folder / MANIFEST} lists {len(document.members):,} members: at most {MOST:,} are read")
    for entry in document.members:
        if not re.fullmatch(r"member-\d{1,9}", entry.run):
            raise CheckpointError(f"{folder / MANIFEST} names a run outside its folder: {entry.run!r}")
        if Path(os.path.realpath(folder / entry.run)).parent != Path(os.path.realpath(folder)):
            raise CheckpointError(f"{folder / entry.run} is a link that leads outside its folder")
    return document
