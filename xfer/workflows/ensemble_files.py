"""`ensemble.json`, checked before it is used."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from xfer.checkpoints import stored
from xfer.checkpoints.documents import read_document, validated
from xfer.errors import CheckpointError
from xfer.runtime.paths import expanded
from xfer.runtime.remote import is_remote

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
    return not is_remote(path) and (expanded(path) / MANIFEST).is_file()


def read_ensemble(folder: Path) -> _Document:
    """What `ensemble.json` in a folder says, checked."""
    path = folder / MANIFEST
    document = validated(_Document, read_document(path, FORMAT, "no ensemble"), path)
    if len(document.members) > MOST:
        raise CheckpointError(f"{folder / MANIFEST} lists {len(document.members):,} members: at most {MOST:,} are read")
    for entry in document.members:
        if not re.fullmatch(r"member-\d{1,9}", entry.run):
            raise CheckpointError(f"{folder / MANIFEST} names a run outside its folder: {entry.run!r}")
        if Path(os.path.realpath(folder / entry.run)).parent != Path(os.path.realpath(folder)):
            raise CheckpointError(f"{folder / entry.run} is a link that leads outside its folder")
    return document
