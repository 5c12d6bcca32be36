"""ROC-AUC and average precision of each class against all others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_LARGEST = np.finfo(np.float64).max  # log-odds may be infinite, which scikit-learn refuses


def roc_aucs(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each class against the rest, float64 (K,).

    NaN for a class that no image has, or all have, and throughout where a score is not a number.

    Args:
        scores: (N, K), higher where the class is more probable.
        labels: int64 (N,).
    """
    from sklearn.metrics import roc_auc_score

    return _each(roc_auc_score, scores, labels)


def average_precisions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision of each class against the rest, float64 (K,); NaN and arguments as in `roc_aucs`."""
    from sklearn.metrics import average_precision_score

    return _each(average_precision_score, scores, labels)


def _each(score: Callable[[np.ndarray, np.ndarray], float], scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    found = np.full(scores.shape[1], np.nan)
    if np.isnan(scores).any():
        return found
    bounded = np.clip(scores, -_LARGEST, _LARGEST)
    for index in np.unique(labels):
        mine = labels == index
        if not mine.all():
            found[index] = score(mine, bounded[:, index])
    return found
