"""What a page says of multi-label tasks and of regressions."""

from __future__ import annotations

import numpy as np

from xfer.evaluation.tasks import TasksEvaluation
from xfer.report import charts
from xfer.report.sections import (
    Gallery,
    Item,
    Section,
    classes_section,
    figures,
    intervals_text,
    number,
    ranking_charts,
)
from xfer.report.svg import element
from xfer.report.worst import highest
from xfer.specs.tasks import Task

_MOST_NUMBERS = 6
_RESAMPLES = 500


def task_sections(evaluation: TasksEvaluation) -> list[Section]:
    """A section for each task; one without a target on any image says so."""
    found = []
    for task in evaluation.tasks:
        known = ~np.isnan(evaluation.targets[task.name])
        if not known.any():
            lead = "No image here has a target of this task."
            found.append(Section(task.kind, task.name, lead, [], [], "", [], (), [], []))
        elif task.kind == "single-label":
            found.append(classes_section(evaluation.one(task.name), task.name, np.flatnonzero(known)))
        elif task.kind == "multi-label":
            found.append(_labels(evaluation, task, known))
        else:
            found.append(_numbers(evaluation, task, known))
    return found


def _labels(evaluation: TasksEvaluation, task: Task, known: np.ndarray) -> Section:
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

    p, y = evaluation.outputs[task.name], evaluation.targets[task.name]
    said, rows = p > 0.5, []
    for k, name in enumerate(task.classes):
        there = known[:, k]
        truth, score = y[there, k], p[there, k]
        precision, recall, f1, _ = precision_recall_fscore_support(
            truth, said[there, k], average="binary", zero_division=0.0
        )
        ranks = [f(truth, score) if 0 < truth.mean() < 1 else None for f in (roc_auc_score, average_precision_score)]
        counts = (f"{int(truth.sum()):,}", f"{int(said[there, k].sum()):,}")
        rows.append((name, *counts, *map(number, (float(precision), float(recall), float(f1), *ranks))))
    loss = -np.where(known, np.log(np.maximum(np.where(y > 0, p, 1 - p), 1e-300)), 0).sum(axis=1)
    wrong = ((said != (y > 0)) & known).any(axis=1)
    exact = int((~wrong & known.all(axis=1)).sum())
    metrics, others = _figures(evaluation, task, ("accuracy", "exact_match", "micro_f1", "macro_f1"))
    return Section(
        kind=task.kind,
        name=task.name,
        lead=f"{exact:,} of {int(known.all(axis=1).sum()):,} images have all {len(task.classes)} labels right.",
        metrics=metrics,
        others=others,
        interval=intervals_text(_RESAMPLES),
        charts=ranking_charts(p, y, task.classes, task.name),
        head=("Label", "images", "predicted", "precision", "recall", "F1", "ROC-AUC", "average precision"),
        rows=rows,
        galleries=_gallery(
            "Highest loss", [_labels_item(evaluation, task, row, loss[row]) for row in highest(loss * wrong)]
        ),
        notes=["A label is predicted where its probability is above 0.5."],
    )


def _labels_item(evaluation: TasksEvaluation, task: Task, row: int, loss: float) -> Item:
    p, y = evaluation.outputs[task.name][row], evaluation.targets[task.name][row]
    missed = [(name, number(p[k])) for k, name in enumerate(task.classes) if y[k] > 0 and p[k] <= 0.5]
    added = [(name, number(p[k])) for k, name in enumerate(task.classes) if y[k] == 0 and p[k] > 0.5]
    lines = [("missing", name, shown, True) for name, shown in missed[:4]]
    lines += [("too much", name, shown, False) for name, shown in added[:4]]
    worst = task.classes[int(np.nanargmin(np.where(y > 0, p, 1 - p) + 0 * y))]
    return Item(row, evaluation.names[row], (*lines, ("loss", "", number(loss), False)), (task.name, worst))


def _numbers(evaluation: TasksEvaluation, task: Task, known: np.ndarray) -> Section:
    said, y = evaluation.outputs[task.name], evaluation.targets[task.name]
    error, rows, drawn = said - y, [], []
    for k, name in enumerate(task.classes):
        there = known[:, k]
        if not there.any():
            continue
        off, true = error[there, k], y[there, k]
        shown = (true.mean(), true.std(), off.mean(), np.abs(off).mean(), np.abs(off).max())
        rows.append((name, f"{int(there.sum()):,}", *map(number, map(float, shown))))
        if k >= _MOST_NUMBERS:
            continue
        for draw, key, caption in (
            (charts.true_against_predicted, "scatter", f"{name}: predicted over true"),
            (
                charts.residuals,
                "residuals",
                f"{name}: residuals, mean {off.mean():.3g}, standard deviation {off.std():.3g}",
            ),
        ):
            svg = element(draw(true, said[there, k], name), f"{key}-{task.name}-{k}", caption)
            drawn.append((caption, svg))
    # Numbers of several units count alike: an error is measured in standard deviations of the true numbers.
    spread = np.nanstd(np.where(known, y, np.nan), axis=0) if known.any() else np.ones(y.shape[1])
    size = np.nansum(np.where(known, np.abs(error) / np.where(spread > 0, spread, 1), 0), axis=1)
    metrics, others = _figures(evaluation, task, ("mae", "rmse", "r2"))
    mean = number(float(np.abs(error[known]).mean()))
    return Section(
        kind=task.kind,
        name=task.name,
        lead=f"The mean absolute error is {mean} on {int(known.any(axis=1).sum()):,} images.",
        metrics=metrics,
        others=others,
        interval=intervals_text(_RESAMPLES),
        charts=drawn,
        head=("Number", "images", "mean", "standard deviation", "mean error", "mean absolute error", "largest error"),
        rows=rows,
        galleries=_gallery("Largest error", [_number_item(evaluation, task, row) for row in highest(size)]),
    )


def _number_item(evaluation: TasksEvaluation, task: Task, row: int) -> Item:
    said, y = evaluation.outputs[task.name][row], evaluation.targets[task.name][row]
    lines = []
    for k, name in list(enumerate(task.classes))[:3]:
        term = name if len(task.classes) > 1 else ""
        lines += [(f"true {term}".strip(), "", number(float(y[k])), True)]
        lines += [(f"predicted {term}".strip(), "", number(float(said[k])), False)]
    return Item(row, evaluation.names[row], tuple(lines), (task.name, task.classes[0]))


def _gallery(title: str, items: list[Item]) -> list[Gallery]:
    return [Gallery(title, tuple(items))] if items else []


def _figures(
    evaluation: TasksEvaluation, task: Task, shown: tuple[str, ...]
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    listed = {"multi-label": (*shown, "roc_auc", "average_precision"), "regression": shown}[task.kind]
    values = {name: v for name in listed if (v := evaluation.metrics.get(f"{task.name}_{name}")) is not None}
    return figures(values, listed, shown, lambda name: evaluation.interval(task.name, name, resamples=_RESAMPLES))
