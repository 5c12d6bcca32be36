"""Precision "auto": bfloat16 where it is faster and the features agree with float32, else float32.

Bfloat16 has 8 bits of precision. The features of the first images are computed in both precisions, and the least cosine
between the two decides. The choice depends on the weights, and is stored beside the feature cache.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from xfer.runtime.files import write_atomically
from xfer.runtime.paths import features_dir
from xfer.runtime.progress import say
from xfer.specs.precision import Precision

LEAST_COSINE = 0.999
IMAGES = 4  # images that are compared


def choose(name: str, fingerprint: str, features: Callable[[Precision], np.ndarray]) -> Precision:
    """Choose "bf16" or "fp32".

    Args:
        name: of the model, for the message.
        fingerprint: of its weights; the choice is stored under it and read again.
        features: computes features (N, ...) of a few images in a precision.
    """
    stored = features_dir() / f"{fingerprint}.precision"
    chosen = _read(stored)
    if chosen is None:
        chosen = "bf16" if _agree(name, features) else "fp32"
        with suppress(OSError):  # chosen again next time
            stored.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(stored, chosen.encode())
    return chosen


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine between rows of two arrays (N, ...), float64 (N,); 1 where both are zero."""
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (a, b))
    products, norms = (a * b).sum(axis=1), np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = ~a.any(axis=1) & ~b.any(axis=1)
    return np.where(same, 1.0, products / np.where(norms > 0, norms, 1.0))


def _read(path: Path) -> Precision | None:
    """The choice in a file; None where there is none, or an invalid one."""
    try:
        content = path.read_bytes() if path.is_file() and path.stat().st_size == 4 else b""
    except OSError:
        return None
    return "bf16" if content == b"bf16" else "fp32" if content == b"fp32" else None


def _agree(name: str, features: Callable[[Precision], np.ndarray]) -> bool:
    least = float(cosines(features("fp32"), features("bf16")).min())
    if not least >= LEAST_COSINE:
        say(
            f"{name} stays in float32: in bfloat16 the features of an image have a cosine of {least:.4f} with "
            f"those of float32, under {LEAST_COSINE}"
        )
    return least >= LEAST_COSINE
