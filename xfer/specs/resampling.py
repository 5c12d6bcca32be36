"""Resampling of images without antialiasing, as tf.image.resize and OpenCV do it."""

from __future__ import annotations

import numpy as np


def nearest(image: np.ndarray, height: int, width: int, centre: float) -> np.ndarray:
    """(H, W, ...) to float64 (height, width, ...); a pixel's place is its `centre`, 0.5, or its corner, 0."""
    rows, columns = (
        np.minimum(((np.arange(new) + centre) * old / new).astype(int), old - 1)
        for new, old in ((height, image.shape[0]), (width, image.shape[1]))
    )
    return np.asarray(image[rows][:, columns], np.float64)


def bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, ...) to float64 (height, width, ...).

    As tf.image.resize, cv2.resize and F.interpolate(align_corners=False): each pixel lies between two others on each
    axis, however many are left out in between.
    """
    found = image
    for axis, (new, old) in enumerate(((height, image.shape[0]), (width, image.shape[1]))):
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        part = (at - low).reshape(*(1,) * axis, -1, *(1,) * (image.ndim - 1 - axis))
        found = np.take(found, low, axis) * (1 - part) + np.take(found, np.minimum(low + 1, old - 1), axis) * part
    return found
