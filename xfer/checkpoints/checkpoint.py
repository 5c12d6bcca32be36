"""Reading checkpoints: nothing in a folder is trusted before it was verified."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.checkpoints.documents import read_document, validated
from xfer.checkpoints.estimators import loads
from xfer.checkpoints.fit_progress import FitProgress
from xfer.checkpoints.manifest import FORMAT, MANIFEST, METRICS, Manifest
from xfer.checkpoints.stored import StoredFile, read_stored, read_tensors
from xfer.checkpoints.upgrade import upgraded
from xfer.data.columns import Columns
from xfer.errors import CheckpointError, UsageError
from xfer.runtime import checksums
from xfer.runtime.files import write_atomically
from xfer.runtime.paths import cache_dir, expanded
from xfer.runtime.progress import step
from xfer.runtime.remote import RemotePath, is_remote
from xfer.runtime.text import path_text
from xfer.specs.estimator import FittedEstimator
from xfer.weights.hub import HubAddress, MissingFileError, WeightsSource, download, is_hub

_STORED = re.compile(r"(model|columns|estimator|optimizer|callbacks|progress)-[0-9a-f]{12}\.(safetensors|skops|json)")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder that was opened: its manifest is valid; tensors are read and verified when asked for.

    Args:
        path: the folder.
        manifest: what its manifest says.
        source: the file on the hub that its weights, or those that the run began with, are.
    """

    path: Path
    manifest: Manifest
    source: WeightsSource | None = None

    def __repr__(self) -> str:
        about = repr(self.manifest).removeprefix("Manifest(")
        return f"Checkpoint({path_text(self.path)}: {about}"

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
        for file in self.manifest.files(training=True):
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
    if is_remote(path):
        return (RemotePath(str(path)) / MANIFEST).is_file()
    return (expanded(path) / MANIFEST).is_file()


def open_checkpoint(path: str | Path, *, training: bool = False) -> Checkpoint:
    """Open a checkpoint folder, a run under a URL, or a run on the hub.

    Args:
        path: the folder, the URL or the address.
        training: whether, of a run under a URL, the state of its training is downloaded as well.

    Raises:
        CheckpointError: no manifest, a manifest that is damaged, of a newer format, or says what no run can be.
        WeightsError: the hub cannot be reached, has no such repository, or refuses. DataError: a store likewise.
    """
    if is_remote(path) and not is_hub(path):
        return fetch_checkpoint(RemotePath(str(path)), training=training)
    if not is_hub(path):
        return _opened(expanded(path))
    found = hub_run(str(path))
    if found is None:
        raise CheckpointError(f"{path} is not an xfer run: it has no {MANIFEST}; push one with `xfer push`")
    return found


def hub_run(address: str) -> Checkpoint | None:
    """The run at `hf://owner/repo[@revision]`, what `xfer.load` needs of it in the cache; None where there is no run.

    Raises:
        UsageError: the address of a file, or none. WeightsError, CheckpointError: as `open_checkpoint`.
    """
    at = HubAddress.parse(address)
    if at.file is not None:
        raise UsageError(f"{address} is a file: a run is a repository, hf://owner/repo[@revision]")
    try:
        manifest = download(replace(at, file=MANIFEST), limit=checksums.LIMIT)
    except MissingFileError:
        return None
    opened, commit = _opened(manifest.path.parent), replace(at, revision=manifest.commit)
    tensors = opened.manifest.tensors
    for file in opened.manifest.files(training=False):
        if not _STORED.fullmatch(file.name):
            raise CheckpointError(f"{address} is damaged: its manifest names {file.name[:80]!r}")
        download(replace(commit, file=file.name))
    with suppress(MissingFileError):
        download(replace(commit, file=METRICS), limit=checksums.LIMIT)
    return replace(opened, source=WeightsSource(at.repo, manifest.commit, tensors.name, tensors.sha256, at.revision))


def fetch_checkpoint(url: RemotePath, folder: Path | None = None, *, training: bool = False) -> Checkpoint:
    """Download a checkpoint.

    Args:
        url: the folder that it is in.
        folder: where to; by default into the cache, where a checkpoint has a folder by the SHA-256 of its manifest.
        training: whether the state of its training is downloaded as well.

    Raises:
        CheckpointError: there is none, or it is damaged. DataError: the store cannot be read.
    """
    try:
        manifest = (url / MANIFEST).read_bytes(checksums.LIMIT + 1)
    except FileNotFoundError:
        raise CheckpointError(f"{url} is not an xfer run: it has no {MANIFEST}") from None
    folder = folder or cache_dir().parent / "runs" / hashlib.sha256(manifest).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / MANIFEST, manifest)
    try:
        opened = _opened(folder)
        for file in opened.manifest.files(training=training):
            if not _STORED.fullmatch(file.name):
                raise CheckpointError(f"{url} is damaged: its manifest names {file.name[:80]!r}")
            _fetch_stored(url, folder, file)
        with suppress(FileNotFoundError):
            write_atomically(folder / METRICS, (url / METRICS).read_bytes(checksums.LIMIT))
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(str(folder), str(url))) from None
    return opened


def _fetch_stored(url: RemotePath, folder: Path, file: StoredFile) -> None:
    with suppress(OSError, CheckpointError):
        read_stored(folder, file)
        return
    try:
        with step(f"downloading {file.name}"):
            write_atomically(folder / file.name, (url / file.name).read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{url} is incomplete: {file.name} is missing") from None
    read_stored(folder, file)


def _opened(folder: Path) -> Checkpoint:
    document = upgraded(read_document(folder / MANIFEST, FORMAT, "not an xfer run"))
    manifest = validated(Manifest, document, folder / MANIFEST)
    if not re.fullmatch(r"[\w.-]+", manifest.backend):  # "module:Class" would be imported
        raise CheckpointError(f"{folder / MANIFEST} is damaged: {manifest.backend[:40]!r} is no backend's name")
    return Checkpoint(folder, manifest, manifest.source)
