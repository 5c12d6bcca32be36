"""Reading checkpoints: nothing in a folder is trusted before it was verified."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.checkpoints.documents import read_document, validated
from xfer.checkpoints.estimators import loads
from xfer.checkpoints.fit_progress import FitProgress
from xfer.checkpoints.manifest import FORMAT, MANIFEST, Manifest
from xfer.checkpoints.stored import read_stored, read_tensors
from xfer.checkpoints.upgrade import upgraded
from xfer.data.columns import Columns
from xfer.errors import CheckpointError
from xfer.runtime.paths import expanded
from xfer.specs.estimator import FittedEstimator


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
        found, callbacks = self._progress(), self.manifest.callbacks
        if found is None or callbacks is None:
            return found
        return replace(found, callbacks=read_tensors(self.path, callbacks))

    def extra(self) -> dict[str, Any]:
        """What else the run under way has recorded; empty if the checkpoint is of no run.

        Raises:
            CheckpointError: it is damaged.
        """
        found = self._progress()
        return found.extra if found else {}

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
            columns = Columns.of_parts(names, numeric, found, manifest.columns)
        else:
            columns = Columns(names, numeric, found, manifest.columns)
        return replace(columns, sha256=manifest.transformers.sha256)

    def estimator(self) -> FittedEstimator | None:
        """The estimator that is the head, if one is."""
        file = self.manifest.estimator
        if file is None:
            return None
        found = loads(read_stored(self.path, file), str(self.path / file.name))
        return FittedEstimator(found, len(self.manifest.classes), file.sha256)

    def _progress(self) -> FitProgress | None:
        """Without the tensors of callbacks, which may be as large as the weights."""
        file = self.manifest.progress
        if file is None:
            return None
        try:
            document = json.loads(read_stored(self.path, file))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{self.path / file.name} is damaged: {error}") from None
        return validated(FitProgress, document, self.path / file.name)


def is_checkpoint(path: str | Path) -> bool:
    """Whether `path` is a folder with a manifest."""
    return (expanded(path) / MANIFEST).is_file()


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint folder.

    Raises:
        CheckpointError: no manifest, a manifest that is damaged, of a newer format, or says what no run can be.
    """
    folder = expanded(path)
    document = upgraded(read_document(folder / MANIFEST, FORMAT, "not an xfer run"))
    manifest = validated(Manifest, document, folder / MANIFEST)
    if not re.fullmatch(r"[\w.-]+", manifest.backend):  # "module:Class" would be imported
        raise CheckpointError(f"{folder / MANIFEST} is damaged: {manifest.backend[:40]!r} is no backend's name")
    return Checkpoint(folder, manifest)
