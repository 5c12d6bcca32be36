"""Precision "auto": bfloat16 where it is faster and changes nothing that matters, else float32.

Bfloat16 has 8 bits of precision. Whether a network bears them is seen from its features: on the first images they are
computed in both precisions, and the least cosine between the two decides. The verdict belongs to the weights, and is
remembered beside the feature cache.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xfer.specs.inputs import Inputs

if TYPE_CHECKING:
    from xfer.data import Split
    from xfer.models.base_model import BaseModel

LEAST_COSINE = 0.999
IMAGES = 4


def settle(model: BaseModel, images: np.ndarray) -> None:
    """Decide the precision of a model that is undecided, on the first of uint8 images (N, S, S, 3)."""
    from xfer.models.fingerprint import namespace_of
    from xfer.runtime.files import write_atomically
    from xfer.runtime.paths import features_dir

    model.undecided = False
    known = features_dir() / f"{namespace_of(model, 'features')}.precision"
    verdict = _known(known)
    if verdict is None:
        verdict = "bf16" if _agrees(model, images[:IMAGES]) else "fp32"
        with suppress(OSError):  # decided again next time
            known.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(known, verdict.encode())
    model.set_precision("bf16" if verdict == "bf16" else "fp32")


def _known(path: Path) -> str | None:
    """The verdict in a file; None where there is none, or none that makes sense."""
    try:
        content = path.read_bytes() if path.is_file() and path.stat().st_size == 4 else b""
    except OSError:
        return None
    return content.decode() if content in (b"bf16", b"fp32") else None


def resolve_on(model: BaseModel, split: Split) -> None:
    """Decide the precision of a model on the first images of a split, if there is anything to decide."""
    from xfer.data import Loader

    if not model.undecided or split.after is not None:
        return
    plain = replace(split, columns=None, column_names=(), targets=None)
    loader = Loader(plain, model.spec.preprocessing, batch_size=IMAGES)
    for batch in loader.epoch(0, allow_nothing=True):
        settle(model, batch.images)
        return


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine between rows of two arrays (N, ...), float64 (N,); 1 where both are zero."""
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (a, b))
    products, norms = (a * b).sum(axis=1), np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = ~a.any(axis=1) & ~b.any(axis=1)
    return np.where(same, 1.0, products / np.where(norms > 0, norms, 1.0))


def _agrees(model: BaseModel, images: np.ndarray) -> bool:
    blank = np.zeros((len(images), model.spec.columns)) if model.spec.columns else None
    found = {}
    for precision in ("fp32", "bf16"):
        model.set_precision(precision)
        found[precision] = model.run(Inputs(images, None, blank), ("features",))["features"]
    least = float(cosines(found["fp32"], found["bf16"]).min())
    if not least >= LEAST_COSINE:
        print(
            f"{model.name} stays in float32: in bfloat16 the features of an image have a cosine of {least:.4f} with "
            f"those of float32, under {LEAST_COSINE}",
            file=sys.stderr,
        )
    return least >= LEAST_COSINE
