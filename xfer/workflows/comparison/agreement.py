"""Agreement of the predictions of several backends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfer.runtime.text import one_line, path_text
from xfer.workflows.comparison.runs import Run

LOSSES = ("loss", "val_loss")


@dataclass(frozen=True)
class Agreement:
    """Backends that agree, in numbers; a difference is always that between the highest and the lowest backend.

    Args:
        images: how many were judged.
        same_class: how many of them got the same class from every backend.
        share: the two as a fraction, in [0, 1].
        mean_difference: of the probability of a class, over all images and classes.
        max_difference: the largest of these.
        epochs: differences of "loss" and "val_loss" in each epoch that every backend has run.
    """

    images: int
    same_class: int
    share: float
    mean_difference: float
    max_difference: float
    epochs: tuple[dict[str, float], ...]

    def __repr__(self) -> str:
        same = f"the same class for {self.same_class:,} of {self.images:,} images"
        return f"Agreement({same}, probabilities differ by {self.max_difference:.1e} at most)"

    @property
    def loss_difference(self) -> float:
        """The largest difference of a training or validation loss in any epoch."""
        return max((row[key] for row in self.epochs for key in LOSSES if key in row), default=0.0)


@dataclass(frozen=True)
class Answer:
    """A backend's class for one image, and the probability it gives it."""

    predicted: str
    probability: float


@dataclass(frozen=True)
class Disagreement:
    """An image to which backends give different classes.

    Args:
        name: of the image.
        label: its true class.
        answers: by backend.
        gap: largest difference between the probabilities that two backends give to the same class; near 0 where the
            image was a toss-up for both.
    """

    name: str
    label: str
    answers: dict[str, Answer]
    gap: float

    def __repr__(self) -> str:
        said = ", ".join(
            f"{backend} {one_line(answer.predicted)} {answer.probability:.4f}"
            for backend, answer in self.answers.items()
        )
        return f"Disagreement('{path_text(self.name, 60)}', {one_line(self.label)}: {said})"


def agreement(runs: Sequence[Run]) -> Agreement:
    """The agreement of runs over the same images and classes."""
    same = np.ptp([run.predicted for run in runs], axis=0) == 0
    spread = _spread(runs)
    return Agreement(
        images=len(same),
        same_class=int(same.sum()),
        share=float(same.mean()),
        mean_difference=float(spread.mean()),
        max_difference=float(spread.max()),
        epochs=tuple(
            {"epoch": rows[0]["epoch"]} | {k: float(np.ptp([r[k] for r in rows])) for k in LOSSES if k in rows[0]}
            for rows in zip(*(run.metrics["epochs"] for run in runs), strict=False)
        ),
    )


def disagreements(runs: Sequence[Run]) -> tuple[Disagreement, ...]:
    """Images with different answers, the widest gap first."""
    gaps = _spread(runs).max(axis=1)
    differ = np.flatnonzero(np.ptp([run.predicted for run in runs], axis=0))
    first = runs[0]
    found = [
        Disagreement(
            name=first.names[i],
            label=first.classes[first.labels[i]],
            answers={run.backend: _answer(run, i) for run in runs},
            gap=float(gaps[i]),
        )
        for i in differ.tolist()
    ]
    return tuple(sorted(found, key=lambda image: -image.gap))


def _answer(run: Run, image: int) -> Answer:
    guess = run.predicted[image]
    return Answer(run.classes[guess], float(run.probabilities[image, guess]))


def _spread(runs: Sequence[Run]) -> np.ndarray:
    """Highest less lowest probability over the backends, (N, K)."""
    probabilities = [run.probabilities for run in runs]
    return np.asarray(np.maximum.reduce(probabilities) - np.minimum.reduce(probabilities))
