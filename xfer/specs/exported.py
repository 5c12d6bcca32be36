"""What an exported file computes: from images to answers, said without a framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xfer.specs.decision import Decision
from xfer.specs.loss import TaskKind
from xfer.specs.tasks import Task, spans

ExportPrecision = Literal["float32", "float16", "int8"]

IMAGE, COLUMNS, PROBABILITIES = "image", "columns", "probabilities"  # names of inputs, and of the output of one task


@dataclass(frozen=True)
class Output:
    """An answer of an exported file, float32 (N, K), from its part of the logits.

    "single-label": softmax(logits / temperature). "multi-label": sigmoid. "regression": logits * std + mean.

    Args:
        name: of the output.
        kind: of the task.
        classes: names of classes, labels or numbers.
        start, stop: columns of the logits.
        temperature: of a single-label task.
        mean, std: of a regression, one each.
    """

    name: str
    kind: TaskKind
    classes: tuple[str, ...]
    start: int
    stop: int
    temperature: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def outputs_of(classes: Sequence[str], tasks: Sequence[Task], decision: Decision) -> tuple[Output, ...]:
    """The outputs of a model: one for each task, "probabilities" where there is one."""
    if not tasks:
        return (Output(PROBABILITIES, "single-label", tuple(classes), 0, len(classes), decision.temperature),)
    return tuple(
        Output(task.name, task.kind, task.classes, span.start, span.stop, 1.0, task.mean, task.std)
        for task, span, _ in spans(tasks)
    )


@dataclass(frozen=True)
class ExportJob:
    """What a backend is asked to write.

    Args:
        format: name of the format.
        path: the file, or the folder, to write.
        outputs: in the order of the logits.
        metadata: what the format may carry as text, by key.
        precision: of the weights in the file; "int8" that of the computation, too.
        calibration: uint8 images (N, S, S, 3) from which int8 takes its ranges, and numbers (N, C) of the columns.
    """

    format: str
    path: str
    outputs: tuple[Output, ...]
    metadata: dict[str, str]
    precision: ExportPrecision = "float32"
    calibration: tuple[np.ndarray, ...] = ()
