"""Files of a checkpoint, named and verified by their SHA-256."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xfer.errors import CheckpointError
from xfer.runtime import files
from xfer.runtime.files import write_atomically
from xfer.weights.malformed import MalformedError
from xfer.weights.tensors import read_safetensors


@dataclass(frozen=True)
class StoredFile:
    """A tensor file of the checkpoint and the SHA-256 of its bytes."""

    name: str
    sha256: str


def write_tensors(folder: Path, kind: str, arrays: Mapping[str, np.ndarray]) -> StoredFile:
    """Write arrays into a file of the folder that is named after its kind and its hash."""
    from safetensors.numpy import save as encode

    content = encode({name: np.asarray(array, order="C") for name, array in arrays.items()})
    return write_stored(folder, kind, ".safetensors", content)


def write_stored(folder: Path, kind: str, suffix: str, content: bytes) -> StoredFile:
    """Write bytes into a file that is named after its kind and its SHA-256."""
    digest = hashlib.sha256(content).hexdigest()
    name = f"{kind}-{digest[:12]}{suffix}"
    write_atomically(folder / name, content)
    return StoredFile(name, digest)


def read_tensors(folder: Path, file: StoredFile) -> dict[str, np.ndarray]:
    """Arrays of a file of the folder, its hash verified first.

    Raises:
        CheckpointError: a file outside the folder, missing, or damaged.
    """
    content = read_stored(folder, file)
    try:
        return read_safetensors(io.BytesIO(content), len(content))
    except MalformedError as error:
        raise CheckpointError(f"{folder / file.name} is not a safetensors file: {error}") from None


def read_stored(folder: Path, file: StoredFile) -> bytes:
    """The bytes of a file, verified.

    Raises:
        CheckpointError: it is missing or damaged, or lies outside of the folder.
    """
    path = folder / file.name
    try:
        content = files.read_inside(folder, file.name)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): the run is incomplete") from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the manifest's; restore it or train again")
    return content
