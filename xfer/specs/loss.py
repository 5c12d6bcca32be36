"""Losses, with the semantics of PyTorch.

The rules are PyTorch's where the frameworks differ. A backend implements them or refuses by name; it never
silently does something else. Everything here is plain data or a pure function of plain numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from xfer.errors import UsageError

TaskKind = Literal["single-label", "multi-label", "regression"]
Reduction = Literal["weights", "count"]


@dataclass(frozen=True)
class LossSpec:
    """Cross-entropy with torch's label smoothing and class weights; or focal, or with adjusted logits.

    With weights the mean is sum(w * loss) / sum(w), and smoothing weighs the uniform term per class
    (torch.nn.CrossEntropyLoss). Given logits `z` (N, K), labels `y` (N,), smoothing `s` and weights `w` (K,):
    `loss = [(1 - s) * sum_i w[y_i] * nll_i + s / K * sum_i sum_k w_k * -log p_ik] / sum_i w[y_i]`.

    A negative label means that there is none: such rows count neither in the loss nor in its divisor. The loss of a
    batch without labels, or with none whose class has a weight, is 0.

    Labels may be soft, shares `t` (N, K) of the classes, as Mixup makes them, NaN in rows without: then, as in torch,
    `t` takes the place of the one-hot label, `w_k` weighs class k's term, and the mean is over the rows.

    With `tasks`, logits and targets are those of all tasks side by side, and the loss is the sum of each task's own
    times its weight; see `TaskLoss`.

    Args:
        label_smoothing: s, in [0, 1).
        class_weights: w, for example `xfer.class_weights(counts)`.
        focal: exponent g of the focal loss (Lin et al. 2017, arXiv:1708.02002), which multiplies each row's nll by
            (1 - p[y])^g and so turns to what is still wrong; 0 is cross-entropy.
        adjustment: added to the logits in the loss alone; `xfer.log_prior(counts)` makes it the logit-adjusted loss
            (Menon et al. 2021, arXiv:2007.07314), which is consistent for balanced accuracy.
        tasks: the losses of several tasks; nothing else is then given here.
        reduction: what the weighted losses of class indices are divided by: the sum of the "weights", as in torch, or
            the "count" of rows with a label, as in Keras.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    focal: float = 0.0
    adjustment: tuple[float, ...] | None = None
    tasks: tuple[TaskLoss, ...] = ()
    reduction: Reduction = "weights"

    def __post_init__(self) -> None:
        if self.focal < 0:
            raise UsageError(f"focal={self.focal} is negative: give an exponent such as 2")
        if self.focal and self.label_smoothing:
            raise UsageError("focal loss takes no label_smoothing: leave one of them at 0")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise UsageError(f"label_smoothing={self.label_smoothing} is not in [0, 1): give for example 0.1")
        if self.class_weights is not None and min(self.class_weights, default=-1.0) < 0:
            raise UsageError("class_weights must be one number >= 0 for each class")

    def __repr__(self) -> str:
        given = {
            name: value if isinstance(value, float | str) else f"({len(value)} of them)"
            for name, value in vars(self).items()
            if value and (name, value) != ("reduction", "weights")
        }
        return f"LossSpec({', '.join(f'{name}={value}' for name, value in given.items())})"

    def divided_by(self, reduction: Reduction) -> LossSpec:
        """The same with another reduction, also of its tasks."""
        tasks = tuple(replace(task, loss=task.loss.divided_by(reduction)) for task in self.tasks)
        return replace(self, tasks=tasks, reduction=reduction)

    def weight_of(self, labels: np.ndarray) -> float:
        """The sum of w[y] over class indices int64 (N,), negative ones left out."""
        known = labels[labels >= 0]
        return float(len(known) if self.class_weights is None else np.take(self.class_weights, known).sum())


@dataclass(frozen=True)
class TaskLoss:
    """The loss of one task among several.

    A target that is NaN is missing: it leaves the loss, its gradient and its divisor as they are without it.

    Args:
        kind: "single-label": `loss`, a `LossSpec`, of one column of class indices. "multi-label": the mean of
            binary cross-entropies of logits and columns of 0 or 1. "regression": the mean squared error of outputs
            and columns of numbers.
        outputs: how many logits are the task's, K; also its columns of targets, but one in a single-label task.
        weight: of the task in the sum.
        loss: of a single-label task.
    """

    kind: TaskKind
    outputs: int
    weight: float = 1.0
    loss: LossSpec = field(default_factory=LossSpec)

    @property
    def columns(self) -> int:
        """How many columns of targets the task has."""
        return 1 if self.kind == "single-label" else self.outputs


def spans(tasks: Iterable[TaskLoss]) -> Iterator[tuple[TaskLoss, slice, slice]]:
    """Each task with its part of the outputs and of the targets, in which all tasks stand side by side."""
    at = column = 0
    for task in tasks:
        yield task, slice(at, at + task.outputs), slice(column, column + task.columns)
        at, column = at + task.outputs, column + task.columns
