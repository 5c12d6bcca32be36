"""Decision thresholds of classes, chosen on validation data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from xfer.errors import UsageError
from xfer.evaluation.calibration import evaluate_one_task
from xfer.evaluation.confusion import FROM_COUNTS
from xfer.evaluation.metrics import metric
from xfer.models.base_model import BaseModel
from xfer.specs.decision import softmax

_CANDIDATES = 101

_ROUNDS = 10


def fit_thresholds(
    probabilities: np.ndarray, labels: np.ndarray, score: Callable[[np.ndarray], float | None]
) -> tuple[float, ...]:
    """Thresholds under which `score` is highest, by coordinate ascent from equal ones.

    For one class k after another, images are sorted by p_k over the best of the others. A threshold between two of them
    names k for all above it, and the counts change by those between two candidates alone; so a round over K classes of
    N images costs K sorts and K * 101 scores, whatever N is. The threshold is the middle of a gap between two images. A
    change is kept if it is better: the result is never worse than the most probable class.

    Args:
        probabilities: (N, K) of validation images.
        labels: int64 (N,).
        score: of counts (K, K), rows true and columns named, None where it is undefined; higher is better.
    """
    ranked = np.asarray(probabilities, np.float64).copy()  # p / threshold
    thresholds, best = np.ones(ranked.shape[1]), -np.inf
    for _ in range(_ROUNDS):
        before = best
        for k in range(ranked.shape[1]):
            best, factor = _best_factor(ranked, labels, k, score, best)
            thresholds[k] *= factor
            ranked[:, k] /= factor
        if best == before:
            break
    return tuple(float(t) for t in thresholds / thresholds.sum())


def _best_factor(
    ranked: np.ndarray, labels: np.ndarray, k: int, score: Callable[[np.ndarray], float | None], best: float
) -> tuple[float, float]:
    """The best score with another threshold of class k, and the factor on it; 1 where none is better."""
    classes = ranked.shape[1]
    others = ranked.copy()
    others[:, k] = -1.0
    other = others.argmax(axis=1)
    ratios = ranked[:, k] / np.maximum(others[np.arange(len(other)), other], np.finfo(np.float64).tiny)
    order = np.argsort(-ratios, kind="stable")
    sorted_ratios = ratios[order]
    gaps = np.flatnonzero(sorted_ratios[:-1] > sorted_ratios[1:]) + 1  # k may be named for so many images
    chosen = np.unique(gaps[np.linspace(0, len(gaps) - 1, min(len(gaps), _CANDIDATES)).round().astype(int)])
    now = int((ratios > 1).sum())  # as it is
    cuts = np.union1d(chosen, [now])
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, other), 1)
    found, at, factor = best, 0, 1.0
    for cut in cuts.tolist():
        moved = order[at:cut]
        np.add.at(counts, (labels[moved], other[moved]), -1)
        np.add.at(counts, (labels[moved], np.full(len(moved), k)), 1)
        at = cut
        value = score(counts)
        if value is not None and value > found + 1e-12:
            found = value
            factor = 1.0 if cut == now else _middle(sorted_ratios, cut)
    return found, factor


def _middle(descending: np.ndarray, cut: int) -> float:
    """A ratio between those of the images before and after a cut, far from both."""
    above, below = float(descending[cut - 1]), float(descending[cut])
    return float(np.sqrt(above * below)) if below > 0 and np.isfinite(above * below) else (above + below) / 2


def tune_thresholds(
    model: BaseModel, data: Any, metric_name: str = "balanced_accuracy", **options: Any
) -> dict[str, float]:
    """Set the model's thresholds to those with the best metric on `data`, and return them.

    Args:
        model: of one task; its temperature stays.
        data: as in `BaseModel.evaluate`; figures on the same images are too good, so judge the model on others.
        metric_name: one that depends on the classes named, such as "macro_f1".
        options: of `BaseModel.evaluate`.

    Raises:
        UnknownNameError: no such metric. UsageError: thresholds do not change it.
    """
    metric(metric_name)
    if metric_name not in FROM_COUNTS:
        raise UsageError(f"thresholds do not change {metric_name}: give one of {', '.join(FROM_COUNTS)}")
    model.decision = replace(model.decision, thresholds=())
    found = evaluate_one_task(model, data, options)
    assert found.logits is not None
    chosen = fit_thresholds(softmax(found.logits), found.labels, FROM_COUNTS[metric_name])
    model.decision = replace(model.decision, thresholds=chosen)
    return dict(zip(model.classes, chosen, strict=True))
