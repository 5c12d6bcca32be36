"""Predictions for single images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xfer.specs.decision import Decision


@dataclass(frozen=True)
class Prediction:
    """What the model sees in one image: the best class, its probability, and the k best as (label, probability)."""

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


def rank(probabilities: np.ndarray, classes: tuple[str, ...], decision: Decision, top: int) -> list[Prediction]:
    """A prediction for each row of (N, K): the class named first, then the others as the decision ranks them.

    None for a row of NaN, of an image that could not be read.
    """
    result: list[Any] = []
    for row, ranking in zip(probabilities, decision.ranking(probabilities), strict=True):
        if np.isnan(row).all():
            result.append(None)
            continue
        best = np.argsort(-ranking, kind="stable")[:top]
        ranked = tuple((classes[i], float(row[i])) for i in best)
        result.append(Prediction(*ranked[0], ranked))
    return result
