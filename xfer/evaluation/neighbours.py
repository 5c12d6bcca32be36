"""Distances of images to their nearest neighbours among all images, in features."""

from __future__ import annotations

import numpy as np

NEIGHBOURS = 10
_BLOCK = 256  # images that are compared with all others at once


def neighbour_distances(features: np.ndarray, groups: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Mean cosine distance to the k nearest images of other groups, float64 (N,).

    S. Ramaswamy, R. Rastogi, K. Shim: Efficient Algorithms for Mining Outliers from Large Data Sets, SIGMOD 2000, with
    the mean over the neighbours in place of the distance to the last. Every pair is compared: the time is quadratic.

    Args:
        features: float (N, D).
        groups: int (N,); images of one group, such as copies, are no neighbours of each other.
        k: of fewer images, all are taken. Without any, the distance is 0.
    """
    rows = np.asarray(features, np.float64)
    rows = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    found = np.zeros(len(rows))
    for start in range(0, len(rows), _BLOCK):
        here = slice(start, start + _BLOCK)
        distances = 1.0 - rows[here] @ rows.T
        distances[groups[here, None] == groups[None, :]] = np.inf
        near = np.partition(distances, min(k, len(rows)) - 1, axis=1)[:, :k].astype(np.float64)
        known = np.isfinite(near)
        found[here] = np.where(known, near, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return found


def upper_fence(values: np.ndarray) -> float:
    """The third quartile and three times the interquartile range: what lies above is far out.

    J. W. Tukey: Exploratory Data Analysis, 1977.
    """
    low, high = np.percentile(values, [25, 75])
    return float(high + 3 * (high - low))
