"""The table of predictions: its columns, and what they hold for some images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xfer.errors import UsageError
from xfer.models.predictions import SplitPredictions, best_classes
from xfer.models.predictor import Predictor
from xfer.specs.tasks import Task

LIKELY = 0.5  # a label of a multi-label task is named above this probability, as evaluation counts it


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        kind: of its values.
        values: texts or numbers; None where there is none.
    """

    kind: Literal["text", "float32", "float64"]
    values: Sequence[Any]


Table = Mapping[str, Column]


def predictions_table(
    model: Predictor, names: Sequence[str], found: SplitPredictions, *, top: int = 5, probabilities: bool = False
) -> Table:
    """The columns of the table of predictions by name, with a value for each image.

    `path`; of one task the classes in the order of `predict`, `label` and `probability`, `label_2` and
    `probability_2`, and so on. Of several: for a single-label task `TASK` and `TASK_probability`, for a multi-label
    task `TASK` with | between the labels or - for none, for a regression `TASK`, or `TASK=NAME` if it has several
    numbers. Then `error`, why an image cannot be read; and at the end, if asked for, `probability=CLASS` of each class,
    or `TASK=CLASS`.

    Args:
        model: the model or ensemble.
        names: of the images.
        found: its predictions for them.
        top: how many classes to list.
        probabilities: whether the probabilities of all classes are listed.

    Raises:
        UsageError: two columns of one name.
    """
    there = np.array([i not in found.unreadable for i in range(len(names))], bool)
    columns = [("path", Column("text", names))]
    if model.tasks:
        for task in model.tasks:
            columns += _of_task(task, found.outputs[task.name], there)
    else:
        columns += _of_classes(model, found.outputs, there, top)
    columns.append(("error", Column("text", [found.unreadable.get(i) for i in range(len(names))])))
    if probabilities:
        columns += _of_all(model, found, there)
    table = dict(columns)
    if len(table) < len(columns):
        listed = [name for name, _ in columns]
        twice = next(name for i, name in enumerate(listed) if name in listed[:i])
        raise UsageError(f"the table of predictions has two columns {twice!r}: give the task or class another name")
    return table


def empty_table(model: Predictor, *, top: int = 5, probabilities: bool = False) -> Table:
    """The columns without an image."""
    outputs: Any = {task.name: np.zeros((0, len(task.classes))) for task in model.tasks}
    nothing = SplitPredictions(outputs or np.zeros((0, len(model.classes)), np.float32), {})
    return predictions_table(model, [], nothing, top=top, probabilities=probabilities)


def _of_classes(model: Predictor, p: np.ndarray, there: np.ndarray, top: int) -> Iterator[tuple[str, Column]]:
    for number, best in enumerate(best_classes(p, model.decision, top).T, 1):
        after = f"_{number}" if number > 1 else ""
        yield f"label{after}", _texts(best, there, model.classes.__getitem__)
        yield f"probability{after}", _numbers(p[np.arange(len(p)), best], there)


def _of_task(task: Task, outputs: np.ndarray, there: np.ndarray) -> Iterator[tuple[str, Column]]:
    if task.kind == "single-label":
        best = outputs.argmax(axis=1)
        yield task.name, _texts(best, there, task.classes.__getitem__)
        yield f"{task.name}_probability", _numbers(outputs[np.arange(len(outputs)), best], there)
    elif task.kind == "multi-label":

        def joined(row: list[bool]) -> str:
            return "|".join(name for name, named in zip(task.classes, row, strict=True) if named) or "-"

        yield task.name, _texts(outputs > LIKELY, there, joined)
    else:
        for name, numbers in zip(task.classes, outputs.T, strict=True):
            yield task.name if len(task.classes) == 1 else f"{task.name}={name}", _numbers(numbers, there)


def _of_all(model: Predictor, found: SplitPredictions, there: np.ndarray) -> Iterator[tuple[str, Column]]:
    if not model.tasks:
        for name, p in zip(model.classes, found.outputs.T, strict=True):
            yield f"probability={name}", _numbers(p, there)
    for task in model.tasks:
        if task.kind != "regression":
            for name, p in zip(task.classes, found.outputs[task.name].T, strict=True):
                yield f"{task.name}={name}", _numbers(p, there)


def _texts(values: np.ndarray, there: np.ndarray, text: Callable[[Any], str]) -> Column:
    return Column("text", [text(value) if ok else None for value, ok in zip(values.tolist(), there, strict=True)])


def _numbers(values: np.ndarray, there: np.ndarray) -> Column:
    """Numbers that are written as the shortest decimals that stand for them in their own precision."""
    single = values.dtype == np.float32
    exact = values.astype(str).astype(np.float64) if single else values
    numbers = [value if ok else None for value, ok in zip(exact.tolist(), there, strict=True)]
    return Column("float32" if single else "float64", numbers)
