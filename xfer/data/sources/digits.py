"""scikit-learn's digits, which need no download."""

from __future__ import annotations

import numpy as np
from PIL import Image

from xfer.data.corrections import Corrections, corrected
from xfer.data.dataset import Data
from xfer.data.sources.arrays import array_part
from xfer.data.sources.assembly import assemble


def digits(size: int | None = None, *, val: float = 0.2, seed: int = 0, corrections: Corrections = None) -> Data:
    """1,797 handwritten digits of 8 x 8 pixels, RGB, classes "0" to "9" (scikit-learn's `load_digits`).

    Args:
        size: side in pixels to enlarge them to (bilinear); 8 by default.
        val: share held out for validation.
        seed: of the hold-out.
        corrections: a CSV file of corrected labels, or labels by name; see `xfer.data.corrections.corrected`.

    Source: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; grey values 0 to 16.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    grey = np.rint(found.images * (255 / 16)).astype(np.uint8)
    if size is not None:
        grey = np.stack([_enlarge(image, size) for image in grey])
    rgb = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    parts = {"train": array_part(rgb, found.target, "train")}
    return corrected(assemble(parts, source="digits", val=val, seed=seed), corrections)


def _enlarge(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
