"""Several tasks on one backbone: the kind, the head and the loss of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np

from xfer.errors import UnknownNameError, UsageError
from xfer.runtime.text import classes_text
from xfer.specs import loss as numerics
from xfer.specs.decision import softmax
from xfer.specs.head import Head
from xfer.specs.loss import LossSpec, TaskKind, TaskLoss


def split_outputs(tasks: Sequence[Task], logits: np.ndarray) -> dict[str, np.ndarray]:
    """Each task's answers, (N, K): probabilities of classes or labels, or numbers in the units of the data."""
    found = {}
    for task, span, _ in spans(tasks):
        z = np.asarray(logits[:, span], np.float64)
        by_kind = {"single-label": softmax, "multi-label": _sigmoid, "regression": task.unscale}
        found[task.name] = by_kind[task.kind](z)
    return found


def _sigmoid(z: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(z))


@dataclass(frozen=True)
class Task:
    """One question about an image.

    Args:
        name: letters, digits and underscores; part of the names of the head's tensors.
        kind: "single-label": one of the classes. "multi-label": any number of them. "regression": a number each.
        classes: names of the outputs: classes, labels, or numbers.
        head: the shape of its head.
        weight: of its loss in the sum over tasks.
        loss: of a single-label task.
        mean, std: of the numbers of a regression, one each: the network gives (number - mean) / std, so that tasks of
            any unit weigh the same. Empty is 0 and 1.
    """

    name: str
    kind: TaskKind = "single-label"
    classes: tuple[str, ...] = ()
    head: Head = field(default_factory=Head)
    weight: float = 1.0
    loss: LossSpec = field(default_factory=LossSpec)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_]+", self.name):
            raise UsageError(f"task name {self.name!r}: give letters, digits and underscores")
        if self.kind not in get_args(TaskKind):
            raise UnknownNameError("kind of task", self.kind, get_args(TaskKind))
        if not self.classes:
            raise UsageError(f"task {self.name!r} names no class: give the names of its outputs")
        if self.weight < 0:
            raise UsageError(f"task {self.name!r} has weight {self.weight}: give 0 or more")
        if self.kind != "single-label" and self.loss != LossSpec():
            raise UsageError(f"task {self.name!r} is {self.kind}: only a single-label task takes a loss")
        check_loss(self.loss, self.classes, ())

    def __repr__(self) -> str:
        weight = "" if self.weight == 1.0 else f", weight={self.weight:g}"
        return f"Task({self.name!r}, {self.kind}, {classes_text(self.classes)}, {self.head}{weight})"

    @property
    def term(self) -> TaskLoss:
        """Its term of the loss."""
        return TaskLoss(self.kind, len(self.classes), self.weight, self.loss)

    def standardised(self, numbers: np.ndarray) -> Task:
        """A regression with the mean and standard deviation of numbers (N, K), those that are NaN left out."""
        if self.kind != "regression":
            return self
        known = ~np.isnan(numbers)
        if not known.any(axis=0).all():
            raise UsageError(f"task {self.name!r} has no number to train on: leave the task out")
        mean, std = np.nanmean(numbers, axis=0), np.nanstd(numbers, axis=0)
        std = np.where(std > 0, std, 1.0)
        return replace(self, mean=tuple(map(float, mean)), std=tuple(map(float, std)))

    def scale(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers (N, K) in the units that the network gives; targets of other kinds as they are."""
        return np.asarray((numbers - np.array(self.mean)) / np.array(self.std)) if self.mean else numbers

    def unscale(self, outputs: np.ndarray) -> np.ndarray:
        """The network's outputs (N, K) in the units of the data."""
        return np.asarray(outputs * np.array(self.std) + np.array(self.mean)) if self.mean else outputs


def output_names(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Names of the outputs of all tasks side by side: "task=class".

    Raises:
        UsageError: two tasks of one name.
    """
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise UsageError(f"two tasks have one name: {', '.join(names)}")
    return tuple(f"{task.name}={name}" for task in tasks for name in task.classes)


def spans(tasks: Sequence[Task]) -> Iterator[tuple[Task, slice, slice]]:
    """Each task with its part of the outputs and of the targets, in which all tasks stand side by side."""
    for task, (_, outputs, targets) in zip(tasks, numerics.spans(task.term for task in tasks), strict=True):
        yield task, outputs, targets


def check_loss(loss: LossSpec, classes: Sequence[str], tasks: Sequence[Task]) -> None:
    """Refuse a loss that is not for these outputs.

    Raises:
        UsageError: the loss of other tasks, or numbers by class for another number of classes.
    """
    if loss.tasks != losses(tasks).tasks:
        raise UsageError("the loss is for other tasks than the model has: make a new Trainer after replace_head")
    for name, numbers in (("class_weights", loss.class_weights), ("adjustment", loss.adjustment)):
        if numbers is not None and len(numbers) != len(classes):
            raise UsageError(f"{name} has {len(numbers)} numbers: expected one for each of {len(classes)} classes")


def losses(tasks: Sequence[Task]) -> LossSpec:
    """The loss of all tasks together."""
    return LossSpec(tasks=tuple(task.term for task in tasks))
