"""What decides every number of a table of predictions: two jobs that are equal in it make the same file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import joblib
import numpy as np
import PIL

from xfer.data.columns import Columns
from xfer.data.dataset import Split
from xfer.models.base_model import BaseModel
from xfer.models.predictor import Predictor
from xfer.runtime.version import __version__
from xfer.specs.estimator import FittedEstimator
from xfer.specs.head import EstimatorHead
from xfer.workflows.ensemble import Ensemble


def models_of(model: Predictor) -> list[BaseModel]:
    """The networks of a model or ensemble, each once."""
    members = [member.model for member in model.members] if isinstance(model, Ensemble) else [model]
    return list({id(each): each for each in members if isinstance(each, BaseModel)}.values())


def model_identity(model: Predictor) -> dict[str, Any]:
    """The model by its digest, and on what it computes."""
    models = models_of(model)
    versions: dict[str, str] = {"xfer": __version__, "pillow": PIL.__version__}
    for each in models:
        versions |= each.backend.versions()
    return {
        "model": _digest(model),
        "backend": [each.backend.name for each in models],
        "device": [each.spec.device.partition(":")[0] for each in models],  # two of one kind compute the same
        "precision": [each.spec.precision for each in models],
        "versions": versions,
    }


def images_identity(split: Split) -> str:
    """SHA-256 of the list of images, and of the cells beside them."""
    found = hashlib.sha256(split.fingerprint().encode())
    if split.columns is not None:
        found.update(repr(split.column_names).encode())
        for row in split.columns:
            found.update(repr(row.tolist()).encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def _digest(model: Predictor) -> str:
    """SHA-256 of all that predictions depend on, one tensor after another."""
    if isinstance(model, Ensemble):
        digests = {id(member.model): _digest(member.model) for member in model.members}
        found = _sha256([model.weights, [digests[id(member.model)] for member in model.members]])
        for member in model.members:
            _add(found, (member.head or {}).items())
        return found.hexdigest()
    assert isinstance(model, BaseModel)
    spec = model.spec
    described = [
        *(model.name, model.classes, model.column_names, spec.preprocessing.described(), asdict(model.decision)),
        *([asdict(task) for task in spec.tasks] or "()", repr(spec.head)),
        *(each and _of_scikit_learn(each) for each in (model.columns, model.estimator)),
        *([spec.lora.scale] if spec.lora else []),
    ]
    found = _sha256(described)
    _add(found, ((name, model.read([name])[name]) for name in model.shapes()))
    return found.hexdigest()


def _of_scikit_learn(thing: Columns | FittedEstimator | EstimatorHead) -> str:
    """A digest by the file that it is from; in memory trees hold bytes that differ from process to process."""
    return getattr(thing, "sha256", "") or str(joblib.hash(thing))


def _sha256(document: Any) -> hashlib._Hash:
    return hashlib.sha256(json.dumps(document).encode())


def _add(digest: hashlib._Hash, tensors: Iterable[tuple[str, np.ndarray]]) -> None:
    for name, array in tensors:
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(array).tobytes())
