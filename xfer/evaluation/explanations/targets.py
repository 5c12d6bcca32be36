"""Which output of a model is explained: by name, by index, by task, or the one that it predicts."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from xfer.errors import UnknownNameError, UsageError
from xfer.models.base_model import BaseModel
from xfer.specs.decision import softmax
from xfer.specs.tasks import spans

PREDICTED = -1


def targets_of(model: BaseModel, given: Any, number: int) -> np.ndarray:
    """Indices of outputs, int64 (number,), `PREDICTED` for the class that the model names.

    Args:
        model: the model.
        given: None; a class name or index; of a model with several tasks `(task, class)`; or a sequence of these, one
            for each image.
        number: of images.

    Raises:
        UnknownNameError: a name that the model does not have. UsageError: an index that it does not have, another
            number of targets than images, or None where there are several tasks.
    """
    if _is_one(model, given):
        return np.full(number, _index(model, given), np.int64)
    if len(given) != number:
        raise UsageError(f"{len(given)} targets for {number} images: give one, or one for each image")
    return np.array([_index(model, each) for each in given], np.int64)


def chosen(model: BaseModel, targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The targets with the predicted class, after thresholds, in the place of `PREDICTED`: int64 (N,)."""
    if (targets != PREDICTED).all():
        return targets
    return np.where(targets == PREDICTED, model.decision.choose(softmax(model.decision.scaled(logits))), targets)


def at_logits(model: BaseModel, targets: np.ndarray) -> np.ndarray:
    """The gradient of the targets with respect to the logits: float64 (N, K).

    1 at the target's logit; at the number of a regression, what the number in the units of the data grows by.
    """
    factors = np.ones(len(model.classes))
    for task, outputs, _ in spans(model.tasks):
        if task.kind == "regression" and task.std:
            factors[outputs] = task.std
    return np.asarray(np.eye(len(model.classes))[targets] * factors)


def _is_one(model: BaseModel, given: Any) -> bool:
    """Whether this is one target for all images. With several tasks a tuple is (task, class)."""
    if given is None or isinstance(given, str) or (model.tasks and isinstance(given, tuple)):
        return True
    return not (isinstance(given, Sequence) or np.ndim(given) == 1)


def _index(model: BaseModel, given: Any) -> int:
    if given is None:
        if model.tasks:
            raise UsageError(f"{model.name} has {len(model.tasks)} tasks: give target=(task, class)")
        return PREDICTED
    if isinstance(given, str):
        if given not in model.classes:
            raise UnknownNameError("target", given, model.classes)
        return model.classes.index(given)
    if isinstance(given, tuple):
        return _of_task(model, given)
    try:
        index = operator.index(given)
    except TypeError:
        index = -1
    if isinstance(given, bool) or not 0 <= index < len(model.classes):
        raise UsageError(f"target {given!r}: give a class name, or an index from 0 to {len(model.classes) - 1}")
    return index


def _of_task(model: BaseModel, given: tuple[Any, ...]) -> int:
    if not model.tasks:
        raise UsageError(f"target {given!r}: {model.name} has one task, give a class name or an index")
    if len(given) != 2:
        raise UsageError(f"target {given!r}: give (task, class)")
    for task, outputs, _ in spans(model.tasks):
        if task.name == given[0]:
            if given[1] not in task.classes:
                raise UnknownNameError(f"output of task {task.name!r}", given[1], task.classes)
            return int(outputs.start + task.classes.index(given[1]))
    raise UnknownNameError("task", given[0], [task.name for task in model.tasks])
