"""ROC-AUC and average precision of resampled images, from scores that are sorted once."""

from __future__ import annotations

import numpy as np


class Rankings:
    """Images by their score for each class, against the rest.

    Args:
        scores: (N, K), higher where the class is more probable, none of them NaN.
        labels: int64 (N,).
    """

    def __init__(self, scores: np.ndarray, labels: np.ndarray) -> None:
        self._order = np.argsort(-scores, axis=0, kind="stable").astype(np.int32)
        sorted_scores = np.take_along_axis(scores, self._order, axis=0)
        self._positive = labels[self._order] == np.arange(scores.shape[1])
        # Images of one score are a group: it begins at `start` and ends before `end`.
        new = np.ones((len(scores) + 1, scores.shape[1]), bool)
        new[1:-1] = sorted_scores[1:] != sorted_scores[:-1]
        places = np.arange(len(scores) + 1, dtype=np.int32)[:, None]
        self._start = np.maximum.accumulate(np.where(new[:-1], places[:-1], 0), axis=0)
        following = np.where(new[1:], places[1:], len(scores))
        self._end = np.minimum.accumulate(following[::-1], axis=0)[::-1]

    def roc_auc(self, counts: np.ndarray) -> float | None:
        """The mean over the classes, each image counted as often as int (N,) says; None where one is undefined."""
        positive, negative, true, _ = self._weights(counts)
        pairs = positive.sum(axis=0) * negative.sum(axis=0)
        if not pairs.all():
            return None
        above = np.take_along_axis(true, self._start, axis=0) + np.take_along_axis(true, self._end, axis=0)
        return float(((negative * above / 2).sum(axis=0) / pairs).mean())

    def average_precision(self, counts: np.ndarray) -> float | None:
        """The mean over the classes; arguments as in `roc_auc`."""
        positive, negative, true, false = self._weights(counts)
        if not (positive.sum(axis=0) * negative.sum(axis=0)).all():
            return None
        true, false = (np.take_along_axis(each, self._end, axis=0) for each in (true, false))
        precision = true / np.maximum(true + false, 1)
        return float(((positive * precision).sum(axis=0) / positive.sum(axis=0)).mean())

    def _weights(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """How often each place counts as positive and as negative (N, K), and the sums before it (N + 1, K)."""
        weights = counts[self._order]
        positive, negative = np.where(self._positive, weights, 0), np.where(self._positive, 0, weights)
        before = np.zeros((1, positive.shape[1]), positive.dtype)
        return (
            positive,
            negative,
            np.concatenate([before, positive.cumsum(axis=0)]),
            np.concatenate([before, negative.cumsum(axis=0)]),
        )
