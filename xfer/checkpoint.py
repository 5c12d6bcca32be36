"""Checkpoints: a folder of safetensors and a manifest, hashed, written atomically, loaded by any backend.

The manifest names the tensor files by their hash and is replaced last, so at every moment the folder holds either the
old checkpoint or the new one, whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

import xfer
from xfer import seal
from xfer.columns import Columns
from xfer.decision import Decision
from xfer.errors import CheckpointError
from xfer.estimator import FittedEstimator, dumps, loads
from xfer.head import Head
from xfer.numerics import LossSpec, OptimizerSpec, Precision, Preprocessing, Schedule
from xfer.tasks import Task
from xfer.weights.malformed import MalformedError
from xfer.weights.tensors import read_safetensors

if TYPE_CHECKING:
    from filelock import FileLock
    from pydantic import TypeAdapter

    from xfer.model import BaseModel

FORMAT = 2  # 1 had no seal
MANIFEST = "manifest.json"
_KINDS = (
    "model-*.safetensors",
    "optimizer-*.safetensors",
    "columns-*.skops",
    "estimator-*.skops",
    "progress-*.json",
    "callbacks-*.safetensors",
)


@dataclass(frozen=True)
class FitPlan:
    """A fit under way: the epoch it began at, how many it takes, and its word in the history."""

    first: int
    epochs: int
    phase: str = ""


@dataclass(frozen=True)
class TrainingState:
    """Where a training run stands: what it computes, and the next epoch and batch it would take."""

    optimizer: OptimizerSpec
    loss: LossSpec
    schedule: Schedule
    rates: dict[str, float]
    clip_norm: float | None
    batch_size: int
    augment: str
    seed: int
    epoch: int
    step: int
    fit: FitPlan | None = None
    sampling: Literal["none", "over", "under", "balanced"] = "none"
    augment_minority: str | None = None
    mix: str = "none"
    cache_views: int | None = None
    at_once: int | None = None


@dataclass(frozen=True)
class Gathered:
    """What a run has gathered on its way, so that it can go on as if it had never stopped.

    Args:
        history: a row for each epoch that is over.
        losses: of the batches of the epoch under way, with the numbers of their images.
        skipped: images of the training split that could not be read so far: name, reason, whether a blank one is used.
        stop: whether a callback has asked for the end of the fit.
        callbacks: what each keeps, as `callback/name`.
        extra: what else belongs to the run, as JSON has it.
    """

    __pydantic_config__: ClassVar = {"arbitrary_types_allowed": True}  # callbacks are read beside

    history: tuple[dict[str, Any], ...] = ()
    losses: tuple[tuple[float, int], ...] = ()
    skipped: tuple[tuple[str, str, bool], ...] = ()
    stop: bool = False
    callbacks: Mapping[str, np.ndarray] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredFile:
    """A tensor file of the checkpoint and the SHA-256 of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says."""

    format: int
    xfer: str
    model: str
    classes: tuple[str, ...]
    head: Head
    preprocessing: Preprocessing
    precision: Precision | Literal["auto"]
    trainable: tuple[str, ...]
    backend: str
    versions: dict[str, str]
    tensors: StoredFile
    optimizer: StoredFile | None = None
    training: TrainingState | None = None
    dropout: bool = True
    columns: int = 0
    tasks: tuple[Task, ...] = ()
    decision: Decision = field(default_factory=Decision)
    transformers: StoredFile | None = None
    column_names: tuple[str, ...] = ()
    numeric_columns: tuple[bool, ...] = ()
    estimator: StoredFile | None = None
    progress: StoredFile | None = None
    callbacks: StoredFile | None = None
    extra: dict[str, Any] = field(default_factory=dict)


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

    def progress(self) -> Gathered | None:
        """What a run under way has gathered; None if the checkpoint is of no run.

        Raises:
            CheckpointError: it is damaged.
        """
        manifest = self.manifest
        if manifest.progress is None:
            return None
        try:
            document = json.loads(_read(self.path, manifest.progress))
            found: Gathered = _adapter(Gathered).validate_python(document)
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
                _read(self.path, file)

    def columns(self) -> Columns | None:
        """What makes numbers of the columns beside images, if the model reads any by name."""
        manifest = self.manifest
        if manifest.transformers is None:
            return None
        found = loads(_read(self.path, manifest.transformers), str(self.path / manifest.transformers.name))
        return Columns(manifest.column_names, manifest.numeric_columns, tuple(found), manifest.columns)

    def estimator(self) -> FittedEstimator | None:
        """The estimator that is the head, if one is."""
        file = self.manifest.estimator
        if file is None:
            return None
        return FittedEstimator(loads(_read(self.path, file), str(self.path / file.name)), len(self.manifest.classes))


def is_checkpoint(path: str | Path) -> bool:
    """Whether `path` is a folder with a manifest."""
    return Path(path, MANIFEST).is_file()


def save(
    model: BaseModel,
    path: str | Path,
    *,
    training: TrainingState | None = None,
    optimizer_state: Mapping[str, np.ndarray] | None = None,
    progress: Gathered | None = None,
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


def lock(folder: Path) -> FileLock:
    """The lock of a folder that is written into; a process may take it again while it has it.

    The kernel lets go of it when the process ends, however it ends.
    """
    from filelock import FileLock

    return FileLock(folder / ".lock", is_singleton=True)


def _save(
    model: BaseModel,
    folder: Path,
    training: TrainingState | None,
    optimizer_state: Mapping[str, np.ndarray] | None,
    progress: Gathered | None,
) -> None:
    tensors = write_tensors(folder, "model", model.weights())
    slots = write_tensors(folder, "optimizer", optimizer_state) if optimizer_state else None
    columns, estimator = model.columns, model.estimator
    transformers = _write(folder, "columns", ".skops", dumps(columns.transformers)) if columns else None
    fitted = None
    if isinstance(estimator, FittedEstimator):
        fitted = _write(folder, "estimator", ".skops", dumps(estimator.estimator))
    position = callbacks = None
    if progress is not None:
        document = {name: value for name, value in vars(progress).items() if name != "callbacks"}
        position = _write(folder, "progress", ".json", json.dumps(document).encode())
        callbacks = write_tensors(folder, "callbacks", progress.callbacks) if progress.callbacks else None
    files = [file for file in (tensors, slots, transformers, fitted, position, callbacks) if file]
    manifest = Manifest(
        format=FORMAT,
        xfer=xfer.__version__,
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
    write_atomically(folder / MANIFEST, seal.sealed(asdict(manifest)))
    _sweep(folder, {file.name for file in files})


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint folder.

    Raises:
        CheckpointError: no manifest, a manifest that is damaged, of a newer format, or says what no run can be.
    """
    from pydantic import ValidationError

    folder = Path(path)
    try:
        manifest = _adapter(Manifest).validate_python(seal.read(folder / MANIFEST, FORMAT))
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


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by `content`: whoever reads sees the old bytes or the new ones, also after a power cut."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def digest(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the names and bytes of tensors, in order: equal if and only if they are."""
    found = hashlib.sha256()
    for name, array in weights.items():
        found.update(name.encode() + b"\0" + array.tobytes())
    return found.hexdigest()


def write_tensors(folder: Path, kind: str, arrays: Mapping[str, np.ndarray]) -> StoredFile:
    """Write arrays into a file of the folder that is named after its kind and its hash."""
    from safetensors.numpy import save as encode

    content = encode({name: np.asarray(array, order="C") for name, array in arrays.items()})
    return _write(folder, kind, ".safetensors", content)


def _write(folder: Path, kind: str, suffix: str, content: bytes) -> StoredFile:
    digest = hashlib.sha256(content).hexdigest()
    name = f"{kind}-{digest[:12]}{suffix}"
    write_atomically(folder / name, content)
    return StoredFile(name, digest)


def read_tensors(folder: Path, file: StoredFile) -> dict[str, np.ndarray]:
    """Arrays of a file of the folder, its hash verified first.

    Raises:
        CheckpointError: a file outside the folder, missing, or damaged.
    """
    content = _read(folder, file)
    try:
        return read_safetensors(io.BytesIO(content), len(content))
    except MalformedError as error:
        raise CheckpointError(f"{folder / file.name} is not a safetensors file: {error}") from None


def _read(folder: Path, file: StoredFile) -> bytes:
    path = folder / file.name
    try:
        content = seal.within(folder, file.name)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): the run is incomplete") from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the manifest's; restore it or train again")
    return content


def _sweep(folder: Path, keep: set[str]) -> None:
    for kind in _KINDS:
        for path in folder.glob(kind.replace("*", "[0-9a-f]" * 12)):
            if path.name not in keep:
                path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have what a folder lists, such as a file that was renamed, outlast a power cut."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
