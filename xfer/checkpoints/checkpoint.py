"""Reading checkpoints: nothing in a folder is trusted before it was verified."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.checkpoints.estimators import loads
from xfer.checkpoints.fit_progress import FitProgress
from xfer.checkpoints.manifest import FORMAT, MANIFEST, Manifest
from xfer.checkpoints.stored import read_stored, read_tensors
from xfer.checkpoints.upgrade import upgraded
from xfer.data.columns import Columns
from xfer.errors import CheckpointError
from xfer.runtime import checksums
from xfer.specs.estimator import FittedEstimator

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder that was opened: its manifest is valid; tensors are read and verified when asked for."""

    path: Path
    manifest: Manifest

    def weights(self) -> dict[str, np.ndarray]:
        """All tensors of the model by canonical name."""
        return read_tensors(self.path, self.manifest.tensors)

    def optimizer_state(self) -> dict[str, np.ndarray]:
        """The optimizer's slots, as `Stepper.state` gives them; empty if the checkpoint has none."""
        return read_tensors(self.path, self.manifest.optimizer) if self.manifest.optimizer else {}

    def progress(self) -> FitProgress | None:
        """What a run under way has gathered; None if the checkpoint is of no run.

        Raises:
            CheckpointError: it is damaged.
        """
        manifest = self.manifest
        if manifest.progress is None:
            return None
        try:
            document = json.loads(read_stored(self.path, manifest.progress))
            found: FitProgress = _adapter(FitProgress).validate_python(document)
        except (ValueError, RecursionError) as error:
            first = str(error).splitlines()[0]
            raise CheckpointError(f"{self.path / manifest.progress.name} is damaged: {first}") from None
        return replace(found, callbacks=read_tensors(self.path, manifest.callbacks) if manifest.callbacks else {})

    def verify(self) -> None:
        """Read every file, and compare its hash.

        Raises:
            CheckpointError: one is missing or damaged.
        """
        manifest = self.manifest
        files = (manifest.tensors, manifest.optimizer, manifest.transformers, manifest.estimator)
        for file in (*files, manifest.progress, manifest.callbacks):
            if file is not None:
                read_stored(self.path, file)

    def columns(self) -> Columns | None:
        """What makes numbers of the columns beside images, if the model reads any by name."""
        manifest = self.manifest
        if manifest.transformers is None:
            return None
        found = loads(read_stored(self.path, manifest.transformers), str(self.path / manifest.transformers.name))
        names, numeric = manifest.column_names, manifest.numeric_columns
        if isinstance(found, tuple):  # of formats 1 and 2
            return Columns.of_parts(names, numeric, found, manifest.columns)
        return Columns(names, numeric, found, manifest.columns)

    def estimator(self) -> FittedEstimator | None:
        """The estimator that is the head, if one is."""
        file = self.manifest.estimator
        if file is None:
            return None
        return FittedEstimator(
            loads(read_stored(self.path, file), str(self.path / file.name)), len(self.manifest.classes)
        )


def is_checkpoint(path: str | Path) -> bool:
    """Whether `path` is a folder with a manifest."""
    return Path(path, MANIFEST).is_file()


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint folder.

    Raises:
        CheckpointError: no manifest, a manifest that is damaged, of a newer format, or says what no run can be.
    """
    from pydantic import ValidationError

    folder = Path(path)
    try:
        manifest = _adapter(Manifest).validate_python(upgraded(checksums.read(folder / MANIFEST, FORMAT)))
    except OSError as error:
        raise CheckpointError(f"{folder} is not an xfer run: {MANIFEST} cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:100]
        message = first["msg"].splitlines()[0]
        raise CheckpointError(f"{folder / MANIFEST} is damaged: {where or 'document'}: {message}") from None
    if not re.fullmatch(r"[\w.-]+", manifest.backend):  # "module:Class" would be imported
        raise CheckpointError(f"{folder / MANIFEST} is damaged: {manifest.backend[:40]!r} is no backend's name")
    return Checkpoint(folder, manifest)


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Checks what a file says; made once, for it evaluates the annotations above."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
