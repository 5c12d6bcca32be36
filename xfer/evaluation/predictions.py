"""Predictions on labelled images, from which every metric is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

_AT_ONCE = 1 << 16  # logits, so that intermediate results are those of few images


@dataclass(frozen=True)
class Predictions:
    """Predictions on N images of K classes; `take` makes others of them without copying probabilities.

    Args:
        table: probabilities (M, K), of which `rows` names the ones meant.
        rows: int64 (N,), rows of `table`.
        labels: int64 (N,), true classes.
        predicted: int64 (N,), the classes named: by default the most probable ones, the first of equals.
        better: int64 (N,), how many classes are ranked before the true one; of equals the first.
        losses: float64 (N,), cross-entropy of each image in nats.
        logits: float64 (M, K) behind `table`, if they are known.
    """

    table: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    better: np.ndarray
    losses: np.ndarray
    logits: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"Predictions({len(self.rows):,} images, {self.table.shape[1]:,} classes)"

    @classmethod
    def of(
        cls,
        probabilities: np.ndarray,
        labels: np.ndarray,
        logits: np.ndarray | None = None,
        predicted: np.ndarray | None = None,
    ) -> Self:
        """Predictions from probabilities (N, K) and labels int64 (N,).

        Args:
            probabilities: rows sum to 1.
            labels: class indices.
            logits: (N, K) behind the probabilities. Without them, a probability that float32 rounds to 0 counts as its
                smallest normal number, 1.2e-38, so that no loss exceeds 87.4.
            predicted: the classes named, where they are not the most probable ones.
        """
        if logits is None:
            z = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
        else:
            z = logits.astype(np.float64)
        better, losses = np.empty(len(z), np.int64), np.empty(len(z))
        step = max(_AT_ONCE // max(z.shape[1], 1), 1)
        for start in range(0, len(z), step):
            part = slice(start, start + step)
            better[part], losses[part] = _ranks_and_losses(z[part], np.asarray(labels)[part])
        return cls(
            table=probabilities,
            rows=np.arange(len(z)),
            labels=np.asarray(labels),
            predicted=np.asarray(probabilities.argmax(axis=1) if predicted is None else predicted),
            better=better,
            losses=losses,
            logits=None if logits is None else z,
        )

    def take(self, chosen: np.ndarray) -> Predictions:
        """The predictions on some of the images, any of them more than once; `chosen` holds their places, int64."""
        return Predictions(
            self.table,
            self.rows[chosen],
            self.labels[chosen],
            self.predicted[chosen],
            self.better[chosen],
            self.losses[chosen],
            self.logits,
        )

    @property
    def probabilities(self) -> np.ndarray:
        """(N, K), a copy."""
        return np.asarray(self.table[self.rows])

    @property
    def scores(self) -> np.ndarray:
        """What ranks images for each class, (N, K): log-odds, which no rounding makes equal, or probabilities."""
        return self.probabilities if self.logits is None else log_odds(self.logits[self.rows])

    @property
    def confidence(self) -> np.ndarray:
        """The probability of the predicted class, float64 (N,)."""
        return np.asarray(self.table[self.rows, self.predicted], np.float64)

    @property
    def correct(self) -> np.ndarray:
        """Whether the predicted class is the true one, bool (N,)."""
        return np.asarray(self.predicted == self.labels)


def _ranks_and_losses(z: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`better` and `losses` of logits float64 (n, K), whose largest is made 0 in each row."""
    z -= z.max(axis=1, keepdims=True)
    of_label = z[np.arange(len(z)), labels]
    before = np.arange(z.shape[1])[None, :] < labels[:, None]
    ranked_before = (z > of_label[:, None]) | ((z == of_label[:, None]) & before)
    return ranked_before.sum(axis=1), np.log(np.exp(z).sum(axis=1)) - of_label


def log_odds(logits: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of the softmax of logits float64 (N, K), K at least 2: in the order of p, never flattened."""
    z = logits - logits.max(axis=1, keepdims=True)
    rows, first = np.arange(len(z)), z.argmax(axis=1)
    exponentials = np.exp(z)
    total = exponentials.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        found = z - np.log(total - exponentials)  # of others than the first, what is taken away is half at the most
        exponentials[rows, first] = 0.0
        found[rows, first] = z[rows, first] - np.log(exponentials.sum(axis=1))
    return np.asarray(found)
