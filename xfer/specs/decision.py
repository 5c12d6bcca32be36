"""From logits to probabilities and to the predicted class: temperature and thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfer.errors import UsageError


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

    def __repr__(self) -> str:
        thresholds = f", thresholds of {len(self.thresholds)} classes" if self.thresholds else ""
        return f"Decision(temperature={self.temperature:.4g}{thresholds})"

    def scaled(self, logits: np.ndarray) -> np.ndarray:
        """Logits (N, K) after the temperature, float64."""
        return np.asarray(np.divide(logits, self.temperature, dtype=np.float64))

    def ranking(self, probabilities: np.ndarray) -> np.ndarray:
        """What classes are ranked by: (N, K)."""
        return probabilities / np.array(self.thresholds) if self.thresholds else probabilities

    def choose(self, probabilities: np.ndarray) -> np.ndarray:
        """The class that is named for each of (N, K), int64 (N,); the first of equals."""
        return np.asarray(self.ranking(probabilities).argmax(axis=1))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) of logits (N, K), computed in float64."""
    found = np.subtract(logits, logits.max(axis=1, keepdims=True), dtype=np.float64)
    np.exp(found, out=found)  # in place: logits of many images and classes are large
    found /= found.sum(axis=1, keepdims=True)
    return np.asarray(found)
