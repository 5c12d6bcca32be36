"""Accuracy of features without training a network: a cross-validated linear probe, and nearest neighbours."""

from __future__ import annotations

import numpy as np

from xfer.evaluation.out_of_fold import FOLDS, out_of_fold

NEIGHBOURS = 5
_TOLERANCE = 1e-6
_CHUNK = 1 << 24  # similarities at a time
_VOTE = 100.0  # far more than similarities add up to, so that they decide between equal counts alone


def linear_probe(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """The class that a linear probe gives each image, by cross-validation, int64 (N,).

    Multinomial logistic regression with an L2 penalty (C = 2 / D) on features that are standardised by the training
    folds. The folds are five, stratified and shuffled; fewer if no class has so many images.

    Args:
        features: float (N, D).
        labels: int (N,), of two classes or more, each with two images or more.
        seed: of the folds.
    """
    classes, given = np.unique(labels, return_inverse=True)
    alone = np.arange(len(labels))
    return np.asarray(classes[out_of_fold(features, given, alone, seed, tolerance=_TOLERANCE).argmax(axis=1)])


def fold_count(labels: np.ndarray) -> int:
    """How many folds there are: five, or the images of the largest class if they are fewer."""
    return min(FOLDS, int(np.bincount(labels).max()))


def nearest_neighbours(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class that the most of the five nearest other images have, int64 (N,).

    Nearest by cosine similarity. Of classes with equally many, the one whose similarities have the larger sum. With
    six images or fewer, all others vote.

    Args:
        features: float (N, D).
        labels: int (N,), 0 to K - 1.
    """
    rows = np.asarray(features, np.float64)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    number, classes = min(NEIGHBOURS, len(rows) - 1), int(labels.max()) + 1
    found = np.empty(len(rows), np.int64)
    step = max(_CHUNK // len(rows), 1)
    for start in range(0, len(rows), step):
        here = np.arange(start, min(start + step, len(rows)))
        similar = rows[here] @ rows.T
        similar[np.arange(len(here)), here] = -np.inf
        near = np.argpartition(-similar, number - 1, axis=1)[:, :number]
        votes, places = np.zeros((len(here), classes)), np.arange(len(here))[:, None]
        np.add.at(votes, (places, labels[near]), _VOTE + similar[places, near])
        found[here] = votes.argmax(axis=1)
    return found
