"""Predictions for single images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from xfer.errors import UnreadableError
from xfer.specs.decision import Decision

Answers = TypeVar("Answers")
OnUnreadable = Literal["raise", "report"]


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


def predictions(
    probabilities: Callable[[], np.ndarray], classes: tuple[str, ...], decision: Decision, top: int
) -> list[Prediction]:
    """`rank` of probabilities; an error over images that cannot be read brings the predictions of the others."""
    try:
        return rank(probabilities(), classes, decision, top)
    except UnreadableError as error:
        error.predictions = rank(error.answers, classes, decision, top)
        raise


def answered(answers: Answers, unreadable: Mapping[str, str], on_bad: OnUnreadable) -> Answers:
    """The answers for all images, with a line on stderr for each that cannot be read.

    Args:
        answers: NaN for what is unreadable.
        unreadable: the reasons, by name.
        on_bad: "raise" for an error that brings the answers.

    Raises:
        UnreadableError: an image cannot be read.
    """
    if unreadable and on_bad == "raise":
        raise UnreadableError(unreadable, answers)
    for name, reason in unreadable.items():
        print(f"cannot read {name}: {reason}", file=sys.stderr)
    return answers
