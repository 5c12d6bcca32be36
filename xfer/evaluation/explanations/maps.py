"""Maps of an image's importance: from a small grid to the size of the image, and to numbers between 0 and 1."""

from __future__ import annotations

import numpy as np


def scaled(maps: np.ndarray) -> np.ndarray:
    """Maps (N, H, W) with negative numbers as 0, each divided by its largest number; zeros stay zeros."""
    positive = np.maximum(maps, 0)
    largest = positive.max(axis=(1, 2), keepdims=True, initial=0)
    return np.asarray(positive / np.where(largest > 0, largest, 1))


def resized(maps: np.ndarray, size: int) -> np.ndarray:
    """Maps (N, h, w) enlarged to (N, size, size), bilinear between the centres of places, float64.

    As `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` and OpenCV's `INTER_LINEAR` do.
    """
    rows, columns = _bilinear(maps.shape[1], size), _bilinear(maps.shape[2], size)
    return np.asarray(np.einsum("yh,nhw,xw->nyx", rows, np.asarray(maps, np.float64), columns, optimize=True))


def _bilinear(places: int, size: int) -> np.ndarray:
    """The share (size, places) that each place has in each pixel; beyond the outer centres the outer place's alone."""
    centres = (np.arange(size) + 0.5) * places / size - 0.5
    centres = np.clip(centres, 0, places - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(places))))
