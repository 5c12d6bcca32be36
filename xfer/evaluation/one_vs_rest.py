"""Each class against all others: ROC-AUC, average precision, and the curves whose areas they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MEAN = "macro average"
_LARGEST = np.finfo(np.float64).max  # log-odds may be infinite, which scikit-learn refuses


@dataclass(frozen=True, eq=False)
class Curve:
    """One curve.

    Args:
        name: of the class, or `MEAN`.
        x: float64 (P,), ascending: the false positive rate, or recall.
        y: float64 (P,): the true positive rate, or precision. The precision of a recall holds down to the next one.
        area: under it: ROC-AUC, or the average precision.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    area: float


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


def roc_curves(scores: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> list[Curve]:
    """ROC curves as `sklearn.metrics.roc_curve` gives them; of three or more, their mean before them.

    The mean is that of the true positive rates at each false positive rate, so its area is the mean of the areas.

    Args:
        scores: (N, K), higher where the class is more probable.
        truth: int64 (N,), the class of each image; or float (N, K), 1 where it is of a class, NaN where unknown.
        names: K of them. Classes that no image has, or all have, are left out.
    """
    from sklearn.metrics import auc, roc_curve

    def one(true: np.ndarray, score: np.ndarray, name: str) -> Curve:
        x, y, _ = roc_curve(true, score)
        return Curve(name, x, y, float(auc(x, y)))

    found = _curves(one, scores, truth, names)
    if len(found) < 3:
        return found
    # A curve rises at one x from its lower to its upper value: both are on the grid.
    x = np.unique(np.concatenate([curve.x for curve in found]))
    y = np.zeros((len(x), 2))
    for curve in found:
        y += np.stack([_at(curve, x, "left"), _at(curve, x, "right")], axis=1) / len(found)
    return [Curve(MEAN, np.repeat(x, 2), y.ravel(), _mean_area(found)), *found]


def precision_recall_curves(scores: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> list[Curve]:
    """Precision over recall as `sklearn.metrics.precision_recall_curve` gives it; arguments as in `roc_curves`.

    The mean is that of the precisions at each recall, so its area is the mean of the average precisions.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    def one(true: np.ndarray, score: np.ndarray, name: str) -> Curve:
        precision, recall, _ = precision_recall_curve(true, score)
        return Curve(name, recall[::-1], precision[::-1], float(average_precision_score(true, score)))

    found = _curves(one, scores, truth, names)
    if len(found) < 3:
        return found
    x = np.unique(np.concatenate([curve.x for curve in found]))
    # At a recall that a curve does not have, its next one; of several at one recall, that of the highest threshold.
    y = np.zeros(len(x))
    for curve in found:
        y += curve.y[np.searchsorted(curve.x, x, side="left")] / len(found)
    return [Curve(MEAN, x, y, _mean_area(found)), *found]


def _curves(
    one: Callable[[np.ndarray, np.ndarray, str], Curve], scores: np.ndarray, truth: np.ndarray, names: Sequence[str]
) -> list[Curve]:
    if np.isnan(scores).any():
        return []
    bounded, found = np.clip(scores, -_LARGEST, _LARGEST), []
    for index, name in enumerate(names):
        known = slice(None) if truth.ndim == 1 else ~np.isnan(truth[:, index])
        mine = truth == index if truth.ndim == 1 else truth[known, index] > 0
        if mine.any() and not mine.all():
            found.append(one(mine, bounded[known, index], name))
    return found


def _at(curve: Curve, x: np.ndarray, side: str) -> np.ndarray:
    """A curve's y at x, linear between its points; where it rises at one x, the value on that side."""
    places = np.searchsorted(curve.x, x, side="right") - 1 if side == "right" else np.searchsorted(curve.x, x)
    exact = curve.x[places] == x
    return np.where(exact, curve.y[places], np.interp(x, curve.x, curve.y))


def _mean_area(curves: Sequence[Curve]) -> float:
    return float(np.mean([curve.area for curve in curves]))


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
