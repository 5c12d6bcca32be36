"""`xfer.push`: a run, or a model, and its card onto the Hugging Face Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

from xfer.checkpoints.backbone import Backbone, Original
from xfer.checkpoints.checkpoint import Checkpoint, open_checkpoint
from xfer.checkpoints.manifest import FORMAT, MANIFEST, METRICS
from xfer.checkpoints.saving import save
from xfer.checkpoints.stored import read_stored
from xfer.errors import CheckpointError, UsageError
from xfer.evaluation.evaluation import Evaluation
from xfer.evaluation.tasks import TasksEvaluation
from xfer.models.base_model import BaseModel
from xfer.models.factory import load
from xfer.report import plots
from xfer.report.card import PICTURE, Card
from xfer.runtime import checksums
from xfer.runtime.progress import step
from xfer.specs.decision import Decision
from xfer.weights import hub
from xfer.weights.hub import HubAddress
from xfer.workflows.comparison.runs import read_run
from xfer.workflows.results import PREDICTIONS, recorded

README = "README.md"

_OURS = re.compile(r"(model|columns|estimator|optimizer|progress|callbacks)-[0-9a-f]{12}\.(safetensors|skops|json)")


def push(
    run: str | Path | BaseModel,
    repo: str,
    *,
    evaluation: Evaluation | TasksEvaluation | None = None,
    license: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    message: str | None = None,
) -> str:
    """Write a run and its model card into a repository of the hub, in one commit; `xfer.load` reads it from there.

    Pushed are the manifest, the weights, what the head and the columns need, `metrics.json` and the card; no state of
    the optimizer, no names of images and no paths of this machine. Files of an earlier push that are not needed any
    more are removed.

    Args:
        run: folder of a finished run, or a model.
        repo: "owner/name", or "hf://owner/name"; made if it is not there.
        evaluation: of the model, for the card; by default the predictions that the run has stored.
        license: an identifier of the hub, such as "apache-2.0" or "other"; without one the card names none.
        private: whether a new repository is private; None takes the default of its owner.
        token: by default that of `HF_TOKEN` or `hf auth login`.
        revision: the branch, made if it is not there; the main one by default.
        message: of the commit.

    Returns:
        `hf://owner/name@<commit>`, which `xfer.load` takes.

    Raises:
        UsageError: a repository, a licence or an evaluation that cannot be. CheckpointError: a run that is damaged.
        WeightsError: no permission, or a hub that cannot be reached.
    """
    address = HubAddress.parse(repo if hub.is_hub(repo) else f"{hub.SCHEME}{repo}")
    if address.file or address.revision:
        raise UsageError(f"push to {address}: give 'owner/name', and the branch as revision")
    client = hub.client(token)
    if isinstance(run, BaseModel):
        with TemporaryDirectory() as folder:
            save(run.snapshot(whole=_of_file(run.original)), folder)
            files = _files(open_checkpoint(folder), {}, evaluation, address.repo, license)
    else:
        opened = open_checkpoint(run)
        metrics = recorded(opened.path) or {}
        judged = evaluation or (_stored(opened, metrics) if metrics and not opened.manifest.tasks else None)
        with TemporaryDirectory() as folder:
            if _of_file(opened.manifest.backbone):
                save(load(opened.path, device="cpu").snapshot(whole=True), folder)
                opened = open_checkpoint(folder)
            files = _files(opened, metrics, judged, address.repo, license)
    with hub.errors(replace(address, revision=revision)), step(f"uploading to {address.repo}"):
        return f"{address}@{_commit(client, address.repo, files, private, revision, message)}"


def _of_file(found: Original | Backbone | None) -> bool:
    """Whether weights are in a file of this machine, which others do not have."""
    return found is not None and Path(found.weights).is_absolute()


def _commit(
    client: Any, repo: str, files: Mapping[str, bytes], private: bool | None, revision: str | None, message: str | None
) -> str:
    """One commit that writes the files and removes those of an earlier push; its hash."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    client.create_repo(repo, private=private, exist_ok=True)
    if revision is not None:
        client.create_branch(repo, branch=revision, exist_ok=True)
    there = client.list_repo_files(repo, revision=revision)
    old = [name for name in there if name not in files and (_OURS.fullmatch(name) or name in (PICTURE, METRICS))]
    operations = [
        *(CommitOperationAdd(name, content) for name, content in files.items()),
        *(CommitOperationDelete(name, is_folder=False) for name in old),
    ]
    done = client.create_commit(repo, operations, commit_message=message or "Push with xfer", revision=revision)
    return str(done.oid)


def _files(
    run: Checkpoint,
    metrics: Mapping[str, Any],
    evaluation: Evaluation | TasksEvaluation | None,
    repo: str,
    license: str | None,
) -> dict[str, bytes]:
    """What is pushed, by name."""
    manifest = replace(run.manifest, format=FORMAT, optimizer=None, training=None, progress=None, callbacks=None)
    stored = [file for file in (manifest.tensors, manifest.transformers, manifest.estimator) if file is not None]
    files = {file.name: read_stored(run.path, file) for file in stored}
    files[MANIFEST] = checksums.with_checksum(asdict(manifest))
    public = _public(metrics)
    if public:
        files[METRICS] = json.dumps(public, indent=1).encode()
    judged = evaluation if isinstance(evaluation, Evaluation) else None
    if isinstance(evaluation, TasksEvaluation) and "val" not in public:
        public = {**public, "val": evaluation.metrics}
    if judged is not None and judged.classes != manifest.classes:
        raise UsageError("the evaluation is of other classes than the model: evaluate the model that is pushed")
    if judged is not None and find_spec("matplotlib") is not None:
        files[PICTURE] = plots.confusion(judged.confusion, judged.classes)
    files[README] = Card(repo, manifest, public, judged, license, PICTURE in files).text().encode()
    return files


def _stored(run: Checkpoint, metrics: Mapping[str, Any]) -> Evaluation | None:
    """The predictions on validation images that a run has stored beside its checkpoint."""
    if not (run.path / PREDICTIONS).is_file():
        return None
    found = read_run(run.path)
    if found.classes != run.manifest.classes:
        raise CheckpointError(f"{run.path / PREDICTIONS} has other classes than the model: remove it, or train again")
    return Evaluation(
        dict(metrics["val"]),
        found.probabilities.astype("float32"),
        found.labels,
        tuple(found.names),
        found.classes,
        decision=Decision(thresholds=run.manifest.decision.thresholds),
    )


def _public(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What `metrics.json` says, without the names of images and the paths of this machine."""
    if not metrics:
        return {}
    found = json.loads(json.dumps(dict(metrics)))
    config, data = found.get("config", {}), found.get("data", {})
    for document, name in ((config, "data"), (config, "out"), (config, "weights"), (config, "model"), (data, "source")):
        if name in document and not hub.is_hub(document[name]):
            document[name] = PurePath(str(document[name])).name
    data["skipped"] = []
    return dict(found)
