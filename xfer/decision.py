"""From logits to probabilities and to the class that is named: temperature and thresholds, chosen on validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xfer.errors import UsageError

_CANDIDATES = 101
_ROUNDS = 10


@dataclass(frozen=True)
class Decision:
    """What becomes of logits.

    Args:
        temperature: logits are divided by it (Guo et al. 2017, arXiv:1706.04599); it changes confidence, no order.
        thresholds: one a class, positive, with sum 1: the class k with the highest p_k / t_k is named. Of two classes
            it is the second if its probability reaches its threshold. Empty names the most probable class.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UsageError(f"temperature={self.temperature}: give a positive number")
        if self.thresholds and not min(self.thresholds) > 0:
            raise UsageError("thresholds must be one positive number for each class")

    def cooled(self, logits: np.ndarray) -> np.ndarray:
        """Logits (N, K) after the temperature, float64."""
        return np.asarray(logits, np.float64) / self.temperature

    def ranking(self, probabilities: np.ndarray) -> np.ndarray:
        """What classes are ranked by: (N, K)."""
        return probabilities / np.array(self.thresholds) if self.thresholds else probabilities

    def choose(self, probabilities: np.ndarray) -> np.ndarray:
        """The class that is named for each of (N, K), int64 (N,); the first of equals."""
        return np.asarray(self.ranking(probabilities).argmax(axis=1))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least log loss of logits (N, K) against labels int64 (N,), in [0.01, 100].

    The loss is convex in 1 / temperature, so that there is one.
    """
    from scipy.optimize import minimize_scalar

    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=1, keepdims=True)
    of_label = z[np.arange(len(z)), labels]

    def loss(inverse: float) -> float:
        return float((np.log(np.exp(z * inverse).sum(axis=1)) - of_label * inverse).mean())

    found = minimize_scalar(loss, bounds=(0.01, 100.0), method="bounded", options={"xatol": 1e-10})
    return float(1.0 / found.x)


def fit_thresholds(probabilities: np.ndarray, score: Callable[[np.ndarray], float]) -> tuple[float, ...]:
    """Thresholds under which `score` of the named classes is highest, by coordinate ascent from equal ones.

    For one class after another, the thresholds tried lie at quantiles of p_k over the best of the others: there, and
    nowhere between, what is named changes. A change is kept if it is better. As the first classes named are those of
    equal thresholds, the result is never worse than none.

    Args:
        probabilities: (N, K) of validation images.
        score: of classes named, int64 (N,); higher is better.
    """
    classes = probabilities.shape[1]
    thresholds = np.full(classes, 1.0 / classes)
    best = score(Decision(thresholds=tuple(thresholds)).choose(probabilities))
    for _ in range(_ROUNDS):
        before = best
        for k in range(classes):
            ranked = probabilities / thresholds
            others = np.delete(ranked, k, axis=1).max(axis=1)
            ratios = probabilities[:, k] / np.maximum(others, np.finfo(np.float64).tiny)
            for candidate in np.quantile(ratios[ratios > 0], np.linspace(0, 1, _CANDIDATES)):
                trial = thresholds.copy()
                trial[k] = candidate * (1 - 1e-9)
                found = score(Decision(thresholds=tuple(trial)).choose(probabilities))
                if found > best:
                    best, thresholds = found, trial
        if best == before:
            break
    return tuple(float(t) for t in thresholds / thresholds.sum())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) of logits (N, K), computed in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
