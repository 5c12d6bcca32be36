"""Metrics of several tasks, each of its kind, on the images that have its target."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xfer.data import Skipped
from xfer.errors import UnknownNameError, UsageError
from xfer.evaluation import significance
from xfer.evaluation.evaluation import Evaluation
from xfer.evaluation.metrics import METRICS, classification_metrics
from xfer.evaluation.significance import Interval
from xfer.runtime import html
from xfer.runtime.text import count_of, listed
from xfer.specs.tasks import Task, spans, split_outputs


@dataclass(frozen=True)
class TasksEvaluation:
    """Predictions to several tasks on N images.

    Args:
        metrics: "loss", the weighted sum, and each task's own as "task_metric". Of a single-label task those of
            `xfer.metrics`; of a multi-label task accuracy (over all labels), exact_match, macro_f1, micro_f1, roc_auc
            and average_precision (means over the labels that have both values); of a regression mae, rmse and r2, in
            the units of the data. What the images leave undefined is not in it.
        outputs: of each task, (N, K): probabilities, or numbers in the units of the data.
        targets: of each task, float64 (N,) or (N, K), NaN where there is none.
        names: of the images.
        tasks: of the model.
        skipped: images that could not be read, which count nowhere.
    """

    metrics: dict[str, float]
    outputs: dict[str, np.ndarray]
    targets: dict[str, np.ndarray]
    names: tuple[str, ...]
    tasks: tuple[Task, ...]
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        scores = listed([f"{name} {value:.4f}" for name, value in self.metrics.items()], width=40)
        tasks = count_of(len(self.tasks), "task")
        return (
            f"TasksEvaluation({count_of(len(self), 'image')}, {tasks} ({listed(t.name for t in self.tasks)}): {scores})"
        )

    def _repr_html_(self) -> str:
        """A table of metrics for each task, as a notebook shows them."""
        parts = []
        for task in self.tasks:
            prefix = f"{task.name}_"
            rows = [(n.removeprefix(prefix), f"{v:.4f}") for n, v in self.metrics.items() if n.startswith(prefix)]
            parts.append(html.figure(html.table((f"{task.name} ({task.kind})", ""), rows)))
        return html.view(
            html.title(f"{count_of(len(self), 'image')}, loss {self.metrics['loss']:.4f}"), html.row(parts)
        )

    def one(self, task: str) -> Evaluation:
        """The evaluation of a single-label task, on the images that have its target.

        Raises:
            UnknownNameError: there is no such task. UsageError: it is of another kind, or no image has its target.
        """
        found = self._task(task)
        if found.kind != "single-label":
            raise UsageError(f"task {task!r} is {found.kind}: give a single-label task")
        rows = np.flatnonzero(~np.isnan(self.targets[task]))
        if not len(rows):
            raise UsageError(f"task {task!r} has a target on no image: evaluate data that has some")
        return Evaluation(
            {name: self.metrics[f"{task}_{name}"] for name in METRICS if f"{task}_{name}" in self.metrics},
            self.outputs[task][rows].astype(np.float32),
            self.targets[task][rows].astype(np.int64),
            tuple(self.names[row] for row in rows),
            found.classes,
        )

    def interval(self, task: str, name: str, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Interval:
        """A percentile bootstrap confidence interval of a task's metric over images; see `Evaluation.interval`.

        Raises:
            UnknownNameError: there is no such task or metric. UsageError: it is undefined, or an argument cannot be.
        """
        found, y = self._task(task), self.targets[task]
        if found.kind == "single-label":
            return self.one(task).interval(name, level=level, resamples=resamples, seed=seed)
        scores, z = _LABELS if found.kind == "multi-label" else _NUMBERS, self.outputs[task]
        if name not in scores:
            raise UnknownNameError("metric", name, scores)
        if found.kind == "multi-label":
            z = z - 0.5
        known = ~np.isnan(y)

        def of(rows: np.ndarray) -> float | None:
            value = scores[name](z[rows], y[rows], known[rows]) if known[rows].any() else np.nan
            return value if np.isfinite(value) else None

        return significance.bootstrap(of, len(y), level=level, resamples=resamples, seed=seed)

    def _task(self, name: str) -> Task:
        names = {task.name: task for task in self.tasks}
        if name not in names:
            raise UnknownNameError("task", name, names)
        return names[name]

    def write_csv(self, path: Path) -> None:
        """One line an image: name, then the target and the outputs of each task; a missing target is empty."""
        with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            out = csv.writer(file)
            columns = [f"{task.name}={name}" for task in self.tasks for name in task.classes]
            out.writerow(["name", *(f"{task.name} (target)" for task in self.tasks), *columns])
            for i, name in enumerate(self.names):
                targets = [_shown(task, self.targets[task.name][i]) for task in self.tasks]
                out.writerow([name, *targets, *(f"{x:.8g}" for task in self.tasks for x in self.outputs[task.name][i])])


def _shown(task: Task, target: np.ndarray) -> str:
    if np.isnan(target).any():
        return ""
    if task.kind == "single-label":
        return task.classes[int(target)]
    if task.kind == "multi-label":
        return "|".join(name for name, there in zip(task.classes, target, strict=True) if there) or "-"
    return " ".join(f"{number:.8g}" for number in target)


def evaluate_tasks(
    tasks: Sequence[Task],
    logits: np.ndarray,
    targets: np.ndarray,
    names: Sequence[str],
    skipped: tuple[Skipped, ...] = (),
    metrics: Iterable[str] = tuple(METRICS),
) -> TasksEvaluation:
    """Evaluate outputs (N, all classes) against targets (N, M), both in the network's units."""
    chosen = [name for name in metrics if name != "loss"]
    found: dict[str, float] = {"loss": 0.0}
    outputs, truths = split_outputs(tasks, logits), {}
    for task, span, columns in spans(tasks):
        z, y = logits[:, span], targets[:, columns]
        loss, scores = _judge(task, np.asarray(z, np.float64), y, chosen)
        found["loss"] += task.weight * loss
        found |= {f"{task.name}_{name}": value for name, value in scores.items() if np.isfinite(value)}
        truths[task.name] = y[:, 0] if task.kind == "single-label" else task.unscale(y)
    return TasksEvaluation(found, outputs, truths, tuple(names), tuple(tasks), skipped)


def _judge(task: Task, z: np.ndarray, y: np.ndarray, metrics: Sequence[str]) -> tuple[float, dict[str, float]]:
    """The loss and the metrics of one task over the targets that are there; 0 and none where none is."""
    known = ~np.isnan(y)
    if not known.any():
        return 0.0, {}
    if task.kind == "single-label":
        rows = known[:, 0]
        scores = classification_metrics(z[rows], y[rows, 0].astype(np.int64), ["loss", *metrics])
        return scores["loss"], scores
    if task.kind == "multi-label":
        each = np.maximum(z, 0) - z * np.where(known, y, 0) + np.log1p(np.exp(-np.abs(z)))
        return float(each[known].mean()), _scores(_LABELS, z, y, known)
    return float(((z - y)[known] ** 2).mean()), _scores(_NUMBERS, task.unscale(z), task.unscale(y), known)


Score = Callable[[np.ndarray, np.ndarray, np.ndarray], float]  # of outputs (N, K), targets (N, K), which are known


def _scores(names: Mapping[str, Score], z: np.ndarray, y: np.ndarray, known: np.ndarray) -> dict[str, float]:
    return {name: score(z, y, known) for name, score in names.items()}


def _exact_match(z: np.ndarray, y: np.ndarray, known: np.ndarray) -> float:
    full = known.all(axis=1)
    return float(((z > 0) == y)[full].all(axis=1).mean()) if full.any() else np.nan


def _micro_f1(z: np.ndarray, y: np.ndarray, known: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(y[known], (z > 0)[known], zero_division=0.0))


def _macro_f1(z: np.ndarray, y: np.ndarray, known: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    columns = [(z[rows, k], y[rows, k]) for k, rows in enumerate(known.T) if rows.any()]
    return float(np.mean([f1_score(truth, out > 0, zero_division=0.0) for out, truth in columns]))


def _mean_ranking(name: str) -> Score:
    """The mean of a ranking metric of scikit-learn over the labels that have both values."""

    def score(z: np.ndarray, y: np.ndarray, known: np.ndarray) -> float:
        from sklearn import metrics

        columns = [(z[rows, k], y[rows, k]) for k, rows in enumerate(known.T) if rows.any()]
        both = [(out, truth) for out, truth in columns if 0 < truth.mean() < 1]
        return float(np.mean([getattr(metrics, name)(truth, out) for out, truth in both])) if both else np.nan

    return score


def _r2(z: np.ndarray, y: np.ndarray, known: np.ndarray) -> float:
    said, truth = z[known], y[known]
    spread = ((truth - truth.mean()) ** 2).sum()
    return float(1 - ((said - truth) ** 2).sum() / spread) if spread > 0 else np.nan


_LABELS: dict[str, Score] = {
    "accuracy": lambda z, y, known: float(((z > 0) == y)[known].mean()),
    "exact_match": _exact_match,
    "micro_f1": _micro_f1,
    "macro_f1": _macro_f1,
    "roc_auc": _mean_ranking("roc_auc_score"),
    "average_precision": _mean_ranking("average_precision_score"),
}
_NUMBERS: dict[str, Score] = {
    "mae": lambda z, y, known: float(np.abs(z - y)[known].mean()),
    "rmse": lambda z, y, known: float(np.sqrt(((z - y)[known] ** 2).mean())),
    "r2": _r2,
}
