"""Writing checkpoints: a folder of safetensors and a manifest, hashed, written atomically, loaded by any backend.

The manifest names the tensor files by their hash and is replaced last, so at every moment the folder holds either the
old checkpoint or the new one, complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from xfer.checkpoints.estimators import dumps
from xfer.checkpoints.fit_progress import FitProgress
from xfer.checkpoints.manifest import FORMAT, MANIFEST, Manifest, TrainingState
from xfer.checkpoints.snapshot import ModelSnapshot
from xfer.checkpoints.stored import write_stored, write_tensors
from xfer.errors import CheckpointError
from xfer.runtime import checksums
from xfer.runtime.files import folder_lock, write_atomically
from xfer.runtime.paths import expanded
from xfer.runtime.version import __version__

_KINDS = (
    "model-*.safetensors",
    "optimizer-*.safetensors",
    "columns-*.skops",
    "estimator-*.skops",
    "progress-*.json",
    "callbacks-*.safetensors",
)


def save(
    model: ModelSnapshot,
    path: str | Path,
    *,
    training: TrainingState | None = None,
    optimizer_state: Mapping[str, np.ndarray] | None = None,
    progress: FitProgress | None = None,
) -> Path:
    """Write a checkpoint into the folder `path`, made if needed; files that are not the checkpoint's stay.

    Args:
        model: what is saved.
        path: the folder; two processes that save into it at the same time do so one after the other.
        training: settings and position of a trainer.
        optimizer_state: as `Stepper.state` returns it.
        progress: what a fit has recorded.

    Raises:
        CheckpointError: the folder cannot be written; an older checkpoint in it stays as it was.
    """
    folder = expanded(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with folder_lock(folder):
            _save(model, folder, training, optimizer_state, progress)
    except OSError as error:
        raise CheckpointError(f"cannot write the checkpoint {folder}: {error.strerror or error}") from None
    return folder


def _save(
    model: ModelSnapshot,
    folder: Path,
    training: TrainingState | None,
    optimizer_state: Mapping[str, np.ndarray] | None,
    progress: FitProgress | None,
) -> None:
    tensors = write_tensors(folder, "model", model.weights)
    slots = write_tensors(folder, "optimizer", optimizer_state) if optimizer_state else None
    columns, estimator = model.transformer, model.estimator
    transformers = write_stored(folder, "columns", ".skops", dumps(columns.transformer)) if columns else None
    fitted = write_stored(folder, "estimator", ".skops", dumps(estimator.estimator)) if estimator else None
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
        head=model.head,
        preprocessing=model.preprocessing,
        precision=model.precision,
        dropout=model.dropout,
        trainable=model.trainable,
        backend=model.backend,
        versions=model.versions,
        tensors=tensors,
        optimizer=slots,
        training=training,
        columns=model.columns,
        tasks=model.tasks,
        decision=model.decision,
        transformers=transformers,
        column_names=columns.names if columns else (),
        numeric_columns=columns.numeric if columns else (),
        estimator=fitted,
        progress=position,
        callbacks=callbacks,
        source=model.source,
        resized=model.resized,
        lora=model.lora,
        backbone=model.backbone,
    )
    write_atomically(folder / MANIFEST, checksums.with_checksum(asdict(manifest)))
    _remove_others(folder, {file.name for file in files})


def is_stored(name: str) -> bool:
    """Whether this is the name of a file that a manifest names, of this checkpoint or an older one."""
    return any(fnmatch(name, kind.replace("*", "[0-9a-f]" * 12)) for kind in _KINDS)


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove the files of older checkpoints."""
    for kind in _KINDS:
        for path in folder.glob(kind.replace("*", "[0-9a-f]" * 12)):
            if path.name not in names:
                path.unlink(missing_ok=True)
