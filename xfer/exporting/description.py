"""What is written beside an exported file: model.json, labels.txt, and preprocess.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xfer.errors import UsageError
from xfer.models.base_model import BaseModel
from xfer.runtime.files import tensors_digest, write_atomically
from xfer.runtime.version import __version__
from xfer.specs.exported import COLUMNS, IMAGE, Output
from xfer.specs.preprocessing import Preprocessing

MODEL, LABELS, PREPROCESS = "model.json", "labels.txt", "preprocess.py"

_REFERENCE = '''\
"""The pixels that the model reads: uint8 RGB ({size}, {size}, 3) of an image file."""

import numpy as np
from PIL import Image, ImageOps


def preprocess(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    width, height = image.size
    if {squash}:  # whatever their ratio
        width, height = {resize}, {resize}
    elif width <= height:
        width, height = {resize}, int({resize} * height / width)
    else:
        width, height = int({resize} * width / height), {resize}
    image = image.resize((width, height), Image.Resampling.{filter})
    left, top = round((width - {size}) / 2), round((height - {size}) / 2)
    return np.asarray(image.crop((left, top, left + {size}, top + {size})))
'''


def description(model: BaseModel, outputs: Sequence[Output]) -> dict[str, Any]:
    """What every file of a model computes, for model.json and for the metadata that a format carries."""
    recipe, columns = model.spec.preprocessing, model.columns
    inputs: dict[str, Any] = {IMAGE: {"dtype": "uint8", "shape": ["N", recipe.size, recipe.size, 3], "color": "RGB"}}
    if model.spec.columns:
        inputs[COLUMNS] = {"dtype": "float32", "shape": ["N", model.spec.columns]}
        if columns is not None:
            inputs[COLUMNS]["of"] = list(columns.names)  # numbers are made of them by what was fitted in training
    return {
        "format_version": 1,
        "xfer": __version__,
        "architecture": model.name,
        "weights_sha256": tensors_digest(model.weights()),
        "inputs": inputs,
        "preprocessing": {
            "resize": recipe.resize,
            "size": recipe.size,
            "interpolation": recipe.interpolation,
            "missing_pixels": recipe.missing,
            "decode": recipe.decode,
            **({"squash": True} if recipe.squash else {}),
        },
        "outputs": {output.name: _output(output, model) for output in outputs},
    }


def _output(output: Output, model: BaseModel) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": output.kind, "classes": list(output.classes)}
    if output.kind == "single-label" and not model.spec.tasks:
        found |= {"temperature": output.temperature, "thresholds": list(model.decision.thresholds)}
    return found


def reference(recipe: Preprocessing) -> str:
    """preprocess.py: what xfer makes of an ordinary image file, in NumPy and Pillow."""
    return _REFERENCE.format(
        size=recipe.size, resize=recipe.resize, squash=recipe.squash, filter=recipe.interpolation.upper()
    )


def described(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """What model.json of a folder says already of other files of this model.

    Raises:
        UsageError: it is another model's.
    """
    try:
        before = json.loads((folder / MODEL).read_bytes())
        files = dict(before["files"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{folder / MODEL} is no description of an export: give another --out") from None
    if {name: value for name, value in before.items() if name not in ("files", "xfer")} != {
        name: value for name, value in json.loads(json.dumps(about)).items() if name != "xfer"
    }:
        raise UsageError(f"{folder} holds an export of another model: give another --out")
    return files


def describe(folder: Path, about: dict[str, Any], files: dict[str, Any], model: BaseModel) -> None:
    """Write model.json, labels.txt and preprocess.py into a folder."""
    document = json.dumps(about | {"files": files}, indent=1) + "\n"
    labels = "".join(f"{name}\n" for name in (" ".join(label.splitlines()) for label in model.classes))
    for name, text in ((MODEL, document), (LABELS, labels), (PREPROCESS, reference(model.spec.preprocessing))):
        write_atomically(folder / name, text.encode())
