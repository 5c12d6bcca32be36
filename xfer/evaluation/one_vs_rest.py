"""ROC-AUC and average precision of each class against all others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def roc_aucs(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each class against the rest, float64 (K,).

    NaN for a class that no image has, or all have, and throughout where a probability is not finite.

    Args:
        probabilities: (N, K).
        labels: int64 (N,).
    """
    from sklearn.metrics import roc_auc_score

    return _each(roc_auc_score, probabilities, labels)


def average_precisions(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision of each class against the rest, float64 (K,); NaN and arguments as in `roc_aucs`."""
    from sklearn.metrics import average_precision_score

    return _each(average_precision_score, probabilities, labels)


def _each(
    score: Callable[[np.ndarray, np.ndarray], float], probabilities: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    scores = np.full(probabilities.shape[1], np.nan)
    if not np.isfinite(probabilities).all():
        return scores
    for index in np.unique(labels):
        mine = labels == index
        if not mine.all():
            scores[index] = score(mine, probabilities[:, index])
    return scores
