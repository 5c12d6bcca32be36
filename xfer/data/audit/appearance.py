"""What one image looks like: a thumbnail to compare it by, its brightness, contrast and sharpness."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from xfer.data.dataset import Split
from xfer.data.images.decode import BadImageError, decode
from xfer.data.images.probe import digest
from xfer.data.workers import threads
from xfer.runtime.progress import each

SIDE = 16  # of the thumbnail
_LARGEST = 256  # side at which brightness, contrast and sharpness are measured
_AT_ONCE = 1024
_MEASURING = "measuring pictures"  # what the progress is called


@dataclass(frozen=True, eq=False)
class Appearance:
    """Some measures of an image.

    Args:
        digest: SHA-256 of its size and pixels.
        thumbnail: luma, float32 (16, 16).
        width, height: in pixels, upright.
        brightest: 99th percentile of luma, 0 to 255.
        contrast: the range of luma between the 1st and the 99th percentile.
        sharpness: 99th percentile of the absolute Laplacian of luma over the contrast; None where that has no meaning.
    """

    digest: bytes
    thumbnail: np.ndarray
    width: int
    height: int
    brightest: float
    contrast: float
    sharpness: float | None


def appearances(split: Split, workers: int | None = None) -> list[Appearance | None]:
    """The measures of each image; None of one that cannot be read.

    Args:
        split: of images.
        workers: threads; None for one a core.
    """
    indices, count = range(len(split)), threads(workers)
    if not count:
        return list(each((_measured(split, index) for index in indices), _MEASURING, len(split)))
    with ThreadPoolExecutor(count, "xfer-appearance") as pool:
        parts = (indices[start : start + _AT_ONCE] for start in range(0, len(split), _AT_ONCE))
        measured = (found for part in parts for found in pool.map(partial(_measured, split), part))
        return list(each(measured, _MEASURING, len(split)))


def measure(image: Image.Image) -> Appearance:
    """The measures of an RGB image."""
    grey = image.convert("L")
    # What is reduced by whole steps first is not read whole by the filter.
    small = grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    if max(grey.size) > _LARGEST:
        grey.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BOX)
    luma = np.asarray(grey, np.float32)
    darkest, brightest = np.percentile(luma, [1, 99])
    contrast = float(brightest - darkest)
    sharpness = (
        float(np.percentile(np.abs(_laplacian(luma)), 99)) / contrast if contrast and min(luma.shape) > 2 else None
    )
    thumbnail = np.asarray(small, np.float32)
    return Appearance(digest(image), thumbnail, image.width, image.height, float(brightest), contrast, sharpness)


def _measured(split: Split, index: int) -> Appearance | None:
    try:
        return measure(decode(split.images[index]))
    except BadImageError:
        return None


def _laplacian(luma: np.ndarray) -> np.ndarray:
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return np.asarray(around - 4 * luma[1:-1, 1:-1])
