"""Metrics that counts of true against predicted classes decide, from the counts alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Counts = np.ndarray


def _accuracy(counts: Counts) -> float:
    return float(np.trace(counts) / counts.sum())


def _balanced_accuracy(counts: Counts) -> float:
    images = counts.sum(axis=1)
    return float((np.diag(counts)[images > 0] / images[images > 0]).mean())


def _macro(which: int) -> Callable[[Counts], float]:
    def score(counts: Counts) -> float:
        scores, images, predicted = _by_class(counts)
        return float(scores[which][(images > 0) | (predicted > 0)].mean())

    return score


def _weighted(which: int) -> Callable[[Counts], float]:
    def score(counts: Counts) -> float:
        scores, images, _ = _by_class(counts)
        return float((scores[which] * images).sum() / images.sum())

    return score


def _cohen_kappa(counts: Counts) -> float | None:
    total, images, predicted = counts.sum(), counts.sum(axis=1), counts.sum(axis=0)
    expected = float((images * predicted).sum() / total**2)
    return None if expected == 1 else float((np.trace(counts) / total - expected) / (1 - expected))


def _mcc(counts: Counts) -> float | None:
    total, images, predicted = counts.sum(), counts.sum(axis=1), counts.sum(axis=0)
    if counts.max() == total and np.trace(counts) == total:  # one class alone
        return None
    spread = float((total**2 - (predicted**2).sum()) * (total**2 - (images**2).sum()))
    return float((np.trace(counts) * total - (images * predicted).sum()) / np.sqrt(spread)) if spread else 0.0


def _by_class(counts: Counts) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each class, 0 where they are 0 / 0; images of it, and said to be of it."""
    right, images, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return (
        (_share(right, predicted), _share(right, images), _share(2 * right, images + predicted)),
        images,
        predicted,
    )


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0))


# The names of `xfer.evaluation.metrics.METRICS` that thresholds can change, all of them better when higher.
FROM_COUNTS: dict[str, Callable[[Counts], float | None]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_precision": _macro(0),
    "macro_recall": _macro(1),
    "macro_f1": _macro(2),
    "weighted_precision": _weighted(0),
    "weighted_recall": _weighted(1),
    "weighted_f1": _weighted(2),
    "micro_precision": _accuracy,
    "micro_recall": _accuracy,
    "micro_f1": _accuracy,
    "cohen_kappa": _cohen_kappa,
    "mcc": _mcc,
}
