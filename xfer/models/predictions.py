"""Predictions for single images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xfer.errors import UnreadableError
from xfer.runtime.progress import say
from xfer.runtime.text import listed, one_line
from xfer.specs.decision import Decision
from xfer.specs.tasks import Task

OnUnreadable = Literal["raise", "report"]
_NEXT = 2  # classes after the best in a `repr`


@dataclass(frozen=True)
class Prediction:
    """What the model sees in one image: the best class, its probability, and the k best as (label, probability)."""

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]

    def __repr__(self) -> str:
        others = listed([f"{one_line(name)} {share:.4f}" for name, share in self.top[1:]], _NEXT, 40)
        then = f", then {others}" if others else ""
        return f"Prediction(label='{one_line(self.label, 40)}', probability={self.probability:.4f}{then})"


@dataclass(frozen=True, eq=False)
class SplitPredictions:
    """Predictions for the images of a split, in its order; NaN for those that cannot be read.

    Args:
        outputs: class probabilities float32 (N, K); of several tasks by name, float64 (N, K), probabilities or numbers.
        unreadable: why not, by index.
    """

    outputs: Any
    unreadable: Mapping[int, str]

    def __repr__(self) -> str:
        several = isinstance(self.outputs, Mapping)
        images = len(next(iter(self.outputs.values()))) if several else len(self.outputs)
        what = f"{len(self.outputs)} tasks" if several else f"{self.outputs.shape[1]:,} classes"
        return f"SplitPredictions({images:,} images, {what}, {len(self.unreadable):,} cannot be read)"

    def of_all(self, names: Sequence[str], on_bad: OnUnreadable) -> Any:
        """The outputs, with a line on stderr for each image that cannot be read.

        Raises:
            UnreadableError: with `on_bad="raise"`, an image cannot be read.
        """
        reasons = {names[i]: reason for i, reason in self.unreadable.items()}
        if reasons and on_bad == "raise":
            raise UnreadableError(reasons, self.outputs)
        for name, reason in reasons.items():
            say(f"cannot read {name}: {reason}")
        return self.outputs


def rank(found: SplitPredictions, classes: tuple[str, ...], decision: Decision, top: int) -> list[Prediction | None]:
    """A prediction for each image; None for one that cannot be read."""
    result: list[Prediction | None] = []
    for i, (row, best) in enumerate(zip(found.outputs, best_classes(found.outputs, decision, top), strict=True)):
        ranked = tuple((classes[k], float(row[k])) for k in best)
        result.append(None if i in found.unreadable else Prediction(*ranked[0], ranked))
    return result


def best_classes(probabilities: np.ndarray, decision: Decision, top: int) -> np.ndarray:
    """Of each of (N, K) the class named first, then the others as the decision ranks them: int64 (N, `top`)."""
    return np.argsort(-decision.ranking(probabilities), axis=1, kind="stable")[:, :top]


def by_task(tasks: Sequence[Task], found: SplitPredictions) -> list[dict[str, dict[str, float]] | None]:
    """For each image, by task: probabilities by class or label, or numbers by name; None where it cannot be read."""
    rows = {task.name: found.outputs[task.name].tolist() for task in tasks}
    number = len(next(iter(rows.values())))
    return [
        None
        if i in found.unreadable
        else {task.name: dict(zip(task.classes, rows[task.name][i], strict=True)) for task in tasks}
        for i in range(number)
    ]
