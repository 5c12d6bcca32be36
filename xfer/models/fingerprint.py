"""A digest of everything that decides the outputs of a block."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import PIL

if TYPE_CHECKING:
    from xfer.models.base_model import BaseModel


FORMAT = 2  # raise it when decoding, resizing or augmentation change


def namespace_of(model: BaseModel, after: str, augmented: str = "") -> str:
    """The folder of what a model makes of images up to a stage: a digest of all that decides a row but the image."""
    frozen = model.stages_after(None)[: model.stages_after(None).index(after) + 1]
    beside = tuple(f"{branch.name}." for branch in model.card.auxiliary)  # nothing that follows reads them
    names = [name for name in model.shapes() if model.card.block_of(name) in frozen and not name.startswith(beside)]
    found = hashlib.sha256()
    described = {
        "format": FORMAT,
        "backend": model.backend.name,
        "versions": model.backend.versions(),
        "device": model.spec.device.partition(":")[0],  # the second of two accelerators computes what the first does
        "precision": model.spec.precision,
        "model": model.name,
        "after": after,
        "preprocessing": asdict(model.spec.preprocessing),
        "pillow": PIL.__version__,
        "augmented": augmented,
    }
    found.update(json.dumps(described, sort_keys=True).encode())
    for name, array in model.read(names).items():
        found.update(name.encode() + b"\0" + np.ascontiguousarray(array).tobytes())
    return f"{namespace_prefix(model)}-{found.hexdigest()[:24]}"


def namespace_prefix(model: BaseModel) -> str:
    """How the folders of the features of this model begin."""
    return model.name.replace(":", "-")
