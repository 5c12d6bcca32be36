"""From cells of a table to the targets of several tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xfer.data.dataset import UNLABELLED, Data, Split
from xfer.data.empty import is_empty
from xfer.data.sources.assembly import Part, hold_out, shared_files
from xfer.data.sources.pixels import as_label
from xfer.data.texts import firsts
from xfer.errors import DataError
from xfer.specs.loss import TaskKind
from xfer.specs.tasks import Task, spans

CachedFeatures = Sequence[Mapping[str, Any]]
NONE_OF_THEM = "-"


def assemble_tasks(
    parts: Mapping[str, Part],
    rows: Mapping[str, CachedFeatures],
    kinds: Mapping[str, TaskKind],
    *,
    source: str,
    val: float,
    seed: int,
    column_names: Sequence[str] = (),
) -> Data:
    """The data set whose tasks are columns of a table.

    Classes and labels are those that occur in train, sorted; regressions are standardised by train's mean and
    standard deviation. Without a "val" part, a share of train takes its place, stratified by the first single-label
    task if there is one.

    Args:
        parts: images by split; train is a must.
        rows: for each image, the cells of its row by column, and "where" it stands.
        kinds: of the tasks, by column.
        source, val, seed, column_names: as in `assemble`.

    Raises:
        DataError: a cell that cannot be read, by line and column; a class that train lacks; a task without targets.
    """
    if not kinds:
        raise DataError(
            f"{source}: tasks names no column: give the kind of each, such as {{'species': 'single-label'}}"
        )
    tasks = tuple(_task(name, kind, rows["train"]) for name, kind in kinds.items())
    targets = {key: np.hstack([_column(task, each) for task in tasks]) for key, each in rows.items()}
    first = next((i for i, task in enumerate(tasks) if task.kind == "single-label"), None)
    notes = []
    for i, (task, _, span) in enumerate(spans(tasks)):
        missing = int(np.isnan(targets["train"][:, span]).any(axis=1).sum())
        notes.append(f"task {task.name}: {missing} of {len(rows['train'])} training images lack its target")
        if i == first:
            labels = {key: _labels(each[:, span.start]) for key, each in targets.items()}
    if first is None:
        labels = {key: np.full(len(each), UNLABELLED) for key, each in targets.items()}
    classes = tasks[first].classes if first is not None else ()
    splits = {
        key: Split(
            part.images,
            labels[key],
            part.names,
            classes,
            columns=part.columns,
            column_names=tuple(column_names),
            targets=targets[key],
        )
        for key, part in parts.items()
    }
    notes += shared_files(parts)
    train, held = splits["train"], splits.get("val")
    if held is None and val > 0:
        train, held = _held_out(train, val, seed, parts["train"].files)
        final = "; test is for the final figures" if "test" in splits else ""
        notes.append(f"validation is a share of {val:.0%} of train (seed {seed}){final}")
    tasks = tuple(_standardised(tasks, train))
    return Data(train, held, splits.get("test"), classes, source, tuple(notes), tasks)


def _task(name: str, kind: TaskKind, rows: CachedFeatures) -> Task:
    if kind == "regression":
        return Task(name, kind, (name,))
    values = [row[name] for row in rows if not is_empty(row[name])]
    if kind == "multi-label":
        found = {label for row in rows if not is_empty(row[name]) for label in _several(row, name)}
    else:
        found = {str(as_label(value, f"column {name!r}")) for value in values}
    if len(found) < (2 if kind == "single-label" else 1):
        raise DataError(f"column {name!r} has {len(found)} classes in train: a {kind} task needs more")
    return Task(name, kind, tuple(sorted(found)))


def _column(task: Task, rows: CachedFeatures) -> np.ndarray:
    """Targets float64 (N, K), NaN where a cell is empty; K is 1 for a single-label task."""
    targets = np.full((len(rows), task.term.columns), np.nan)
    for target, row in zip(targets, rows, strict=True):
        if is_empty(row[task.name]):
            continue
        if task.kind == "regression":
            target[0] = _number(row, task.name)
        elif task.kind == "multi-label":
            chosen = _several(row, task.name)
            for label in chosen:
                _place(task, label, row)
            target[:] = [name in chosen for name in task.classes]
        else:
            target[0] = _place(task, str(row[task.name]), row)
    return targets


def _several(row: Mapping[str, Any], name: str) -> list[str]:
    value = row[name]
    if not isinstance(value, str):
        return [str(each) for each in value]
    return [] if value.strip() == NONE_OF_THEM else [part.strip() for part in value.split("|")]


def _place(task: Task, label: str, row: Mapping[str, Any]) -> int:
    if label not in task.classes:
        known = ", ".join(task.classes[:5])
        raise DataError(f"{row['where']}: column {task.name!r}: {label!r} is not among the classes of train ({known})")
    return task.classes.index(label)


def _number(row: Mapping[str, Any], name: str) -> float:
    try:
        number = float(row[name])
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{row['where']}: column {name!r} is {row[name]!r}: give a number, or leave it empty")
    return number


def _labels(column: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(column), UNLABELLED, column).astype(np.int64)


def _held_out(train: Split, share: float, seed: int, files: bool) -> tuple[Split, Split]:
    if (train.labels >= 0).any():
        kept, held = hold_out(train.labels, share, seed, train.names if files else None)
    else:
        first = firsts(train.names) if files else np.arange(len(train))
        shuffled = np.random.default_rng(seed).permutation(len(train))
        is_held = np.isin(first, first[shuffled[: max(1, round(share * len(train)))]])
        held, kept = np.flatnonzero(is_held), np.flatnonzero(~is_held)
    return train.subset(kept), train.subset(held)


def _standardised(tasks: Sequence[Task], train: Split) -> list[Task]:
    assert train.targets is not None
    return [task.standardised(train.targets[:, span]) for task, _, span in spans(tasks)]


def scaled(tasks: Sequence[Task], targets: np.ndarray) -> np.ndarray:
    """Targets (N, M) in the units that the network gives."""
    return np.hstack([task.scale(targets[:, span]) for task, _, span in spans(tasks)])


def check(tasks: Sequence[Task], data: Data) -> None:
    """Refuse data whose tasks are not those of the model.

    Raises:
        DataError: other names, kinds or classes.
    """
    asked = [(task.name, task.kind, task.classes) for task in tasks]
    given = [(task.name, task.kind, task.classes) for task in data.tasks]
    if asked != given:
        names = ", ".join(f"{task.name} ({task.kind})" for task in data.tasks) or "one, its classes"
        raise DataError(f"the model has tasks {', '.join(t.name for t in tasks)}; {data.source} has {names}")


def with_targets(split: Split, tasks: Sequence[Task]) -> Split:
    """The split with its targets in the network's units."""
    assert split.targets is not None
    return replace(split, targets=scaled(tasks, split.targets))
