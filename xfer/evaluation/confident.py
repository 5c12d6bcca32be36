"""Confident learning: labels that a model's out-of-fold probabilities contradict.

C. Northcutt, L. Jiang, I. Chuang: Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70, 2021.
"""

from __future__ import annotations

import numpy as np

NO_CLASS = -1


def thresholds(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The mean probability of each class over the images that are labelled with it (equation 2), float64 (K,).

    Args:
        labels: int (N,), given labels.
        probabilities: float (N, K), each row of a model that has not seen its image.

    NaN where a class has no image.
    """
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    own = probabilities[np.arange(len(labels)), labels]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(labels, own, minlength=probabilities.shape[1]) / counts)


def confident_classes(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The class to which an image belongs with confidence, int64 (N,), `NO_CLASS` where there is none.

    The most probable of the classes whose probability is at least the class's threshold.

    Args:
        labels: int (N,), given labels.
        probabilities: float (N, K), each row of a model that has not seen its image.
    """
    bounds = thresholds(labels, probabilities)
    above = probabilities >= np.where(np.isnan(bounds), np.inf, bounds)
    best = np.where(above, probabilities, -np.inf).argmax(axis=1)
    return np.where(above.any(axis=1), best, NO_CLASS)


def confident_joint(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How many images have a given label (rows) and a confident class (columns), int64 (K, K) (equation 1).

    What is off the diagonal counts the label errors.

    Args:
        labels: int (N,), given labels.
        probabilities: float (N, K), each row of a model that has not seen its image.
    """
    found = confident_classes(labels, probabilities)
    joint = np.zeros((probabilities.shape[1],) * 2, np.int64)
    np.add.at(joint, (labels[found >= 0], found[found >= 0]), 1)
    return joint
