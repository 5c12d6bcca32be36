"""Which images a page shows: the worst mistakes, and those of each confused pair of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_MISTAKES = 12
MOST_PAIRS = 10
MOST_OF_A_PAIR = 7


@dataclass(frozen=True)
class Pair:
    """A class and another that it is taken for: how often, and some of the rows, the most confident first."""

    true: int
    predicted: int
    count: int
    rows: tuple[int, ...]


def mistakes(wrong: np.ndarray, losses: np.ndarray, confidence: np.ndarray) -> tuple[list[int], list[int]]:
    """Rows with the highest loss, and rows with the highest confidence that are not among these.

    `MOST_MISTAKES` in all, half of each; all of them are the first kind where the two are the same images.

    Args:
        wrong: bool (N,).
        losses: (N,).
        confidence: (N,), the probability of the predicted class.
    """
    rows = np.flatnonzero(wrong)
    by_loss = rows[np.argsort(-losses[rows], kind="stable")].tolist()
    by_confidence = rows[np.argsort(-confidence[rows], kind="stable")].tolist()
    if set(by_loss[:MOST_MISTAKES]) == set(by_confidence[:MOST_MISTAKES]):
        return by_loss[:MOST_MISTAKES], []
    half = MOST_MISTAKES // 2
    first = by_loss[:half]
    return first, [row for row in by_confidence if row not in first][:half]


def confused_pairs(
    labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, most: int = MOST_PAIRS
) -> list[Pair]:
    """The most frequent confusions, of equally frequent ones in the order of the classes.

    Args:
        labels, predicted: int64 (N,).
        confidence: (N,).
        most: how many pairs.
    """
    wrong = np.flatnonzero(labels != predicted)
    if not len(wrong):
        return []
    cells, which, counts = np.unique(
        np.stack([labels[wrong], predicted[wrong]], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    which, found = which.reshape(-1), []
    for cell in np.argsort(-counts, kind="stable")[:most]:
        rows = wrong[which == cell]
        shown = rows[np.argsort(-confidence[rows], kind="stable")][:MOST_OF_A_PAIR]
        found.append(Pair(int(cells[cell, 0]), int(cells[cell, 1]), int(counts[cell]), tuple(shown.tolist())))
    return found


def highest(values: np.ndarray, most: int = MOST_MISTAKES) -> Sequence[int]:
    """Rows with the highest positive values."""
    rows = np.flatnonzero(np.nan_to_num(values) > 0)
    return [int(row) for row in rows[np.argsort(-values[rows], kind="stable")][:most]]
