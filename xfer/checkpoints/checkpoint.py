"""Checkpoints: a folder of safetensors and a manifest, hashed, written atomically, loaded by any backend.

The manifest names the tensor files by their hash and is replaced last, so at every moment the folder holds either the
old checkpoint or the new one, whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.checkpoints.estimators import dumps, loads
from xfer.checkpoints.fit_progress import FitProgress
from xfer.checkpoints.manifest import FORMAT, MANIFEST, Manifest, TrainingState
from xfer.checkpoints.stored import read_stored, read_tensors, write_stored, write_tensors
from xfer.data.columns import Columns
from xfer.errors import CheckpointError
from xfer.runtime import checksums
from xfer.runtime.files import lock, write_atomically
from xfer.runtime.version import __version__
from xfer.specs.estimator import FittedEstimator

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from xfer.models.base_model import BaseModel


_KINDS = (
    "model-*.safetensors",
    "optimizer-*.safetensors",
    "columns-*.skops",
    "estimator-*.skops",
    "progress-*.json",
    "callbacks-*.safetensors",
)


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
        return Columns(manifest.column_names, manifest.numeric_columns, tuple(found), manifest.columns)

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


def save(
    model: BaseModel,
    path: str | Path,
    *,
    training: TrainingState | None = None,
    optimizer_state: Mapping[str, np.ndarray] | None = None,
    progress: FitProgress | None = None,
) -> Path:
    """Write a checkpoint into the folder `path`, made if needed; files that are not the checkpoint's are left alone.

    Args:
        model: what is saved.
        path: of the folder; two processes that save into one at once do so one after the other.
        training: where a run stands.
        optimizer_state: as `Stepper.state` gives it.
        progress: what the run has gathered.

    Raises:
        CheckpointError: the folder cannot be written; an older checkpoint in it stays as it was.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder):
            _save(model, folder, training, optimizer_state, progress)
    except OSError as error:
        raise CheckpointError(f"cannot write the checkpoint {folder}: {error.strerror or error}") from None
    return folder


def _save(
    model: BaseModel,
    folder: Path,
    training: TrainingState | None,
    optimizer_state: Mapping[str, np.ndarray] | None,
    progress: FitProgress | None,
) -> None:
    tensors = write_tensors(folder, "model", model.weights())
    slots = write_tensors(folder, "optimizer", optimizer_state) if optimizer_state else None
    columns, estimator = model.columns, model.estimator
    transformers = write_stored(folder, "columns", ".skops", dumps(columns.transformers)) if columns else None
    fitted = None
    if isinstance(estimator, FittedEstimator):
        fitted = write_stored(folder, "estimator", ".skops", dumps(estimator.estimator))
    position = callbacks = None
    if progress is not None:
        document = {name: value for name, value in vars(progress).items() if name != "callbacks"}
        position = write_stored(folder, "progress", ".json", json.dumps(document).encode())
        callbacks = write_tensors(folder, "callbacks", progress.callbacks) if progress.callbacks else None
    files = [file for file in (tensors, slots, transformers, fitted, position, callbacks) if file]
    manifest = Manifest(
        format=FORMAT,
        xfer=__version__,
        model=model.name,
        classes=model.classes,
        head=model.spec.head,
        preprocessing=model.spec.preprocessing,
        precision="auto" if model.undecided else model.spec.precision,
        dropout=model.spec.dropout,
        trainable=tuple(sorted(model.trainable)),
        backend=model.backend.name,
        versions=model.backend.versions(),
        tensors=tensors,
        optimizer=slots,
        training=training,
        columns=model.spec.columns,
        tasks=model.spec.tasks,
        decision=model.decision,
        transformers=transformers,
        column_names=columns.names if columns else (),
        numeric_columns=columns.numeric if columns else (),
        estimator=fitted,
        progress=position,
        callbacks=callbacks,
    )
    write_atomically(folder / MANIFEST, checksums.with_checksum(asdict(manifest)))
    _sweep(folder, {file.name for file in files})


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint folder.

    Raises:
        CheckpointError: no manifest, a manifest that is damaged, of a newer format, or says what no run can be.
    """
    from pydantic import ValidationError

    folder = Path(path)
    try:
        manifest = _adapter(Manifest).validate_python(checksums.read(folder / MANIFEST, FORMAT))
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


def _sweep(folder: Path, keep: set[str]) -> None:
    for kind in _KINDS:
        for path in folder.glob(kind.replace("*", "[0-9a-f]" * 12)):
            if path.name not in keep:
                path.unlink(missing_ok=True)
