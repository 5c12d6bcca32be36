"""A digest of everything that decides the outputs of a block, but the image: the cache namespace."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import PIL

from xfer.models.engine import Engine
from xfer.models.spec import ModelSpec
from xfer.specs.lora import is_adapter

FORMAT = 2  # to be raised when decoding, resizing or augmentation change


def namespace(
    spec: ModelSpec, engine: Engine, tensors: Mapping[str, np.ndarray], after: str, augmented: str = ""
) -> str:
    """The name of the folder with the outputs of a stage.

    Args:
        spec: of the network.
        engine: its framework.
        tensors: of all blocks up to the stage, in forward order.
        after: the stage.
        augmented: what decides the augmentation; empty for images as they are.
    """
    found = hashlib.sha256()
    described = {
        "format": FORMAT,
        "backend": engine.name,
        "versions": engine.versions(),
        "device": spec.device.partition(":")[0],  # two accelerators of one kind compute the same
        "precision": spec.precision,
        "model": spec.card.name,
        "after": after,
        "preprocessing": spec.preprocessing.described(),
        "pillow": PIL.__version__,
        "augmented": augmented,
    }
    if kernels := engine.frozen_kernels(spec):
        described["kernels"] = kernels
    if numerics := spec.numerics.of_forward:
        described["numerics"] = numerics
    if spec.lora is not None and any(map(is_adapter, tensors)):
        described["lora"] = spec.lora.scale
    found.update(json.dumps(described, sort_keys=True).encode())
    for name, array in tensors.items():
        found.update(name.encode() + b"\0")
        found.update(np.ascontiguousarray(array).data)  # no copy of all weights
    return f"{prefix(spec.card.name)}-{found.hexdigest()[:24]}"


def prefix(name: str) -> str:
    """The beginning of the folder names of a model."""
    return name.replace(":", "-")
