"""The result of an evaluation: predictions on labelled images, and metrics of them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from xfer.data import Skipped
from xfer.errors import UsageError
from xfer.evaluation import significance
from xfer.evaluation.class_report import ClassReport, per_class
from xfer.evaluation.confusion import FROM_COUNTS
from xfer.evaluation.metrics import METRICS, compute, confusion_matrix, metric
from xfer.evaluation.predictions import Predictions
from xfer.evaluation.rankings import Rankings
from xfer.evaluation.reliability import BINS, Reliability, reliability
from xfer.evaluation.significance import Interval, McNemar
from xfer.runtime import html
from xfer.runtime.text import classes_text, count_of, one_line
from xfer.specs.decision import Decision, softmax

_SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "loss")  # in a `repr`
_FEW = 12  # classes whose confusion matrix a notebook has room for


@dataclass(frozen=True)
class Evaluation:
    """Predictions on N labelled images.

    Args:
        metrics: those of `xfer.metrics.METRICS` by name: loss, accuracy, top5_accuracy, macro_f1 and more. What the
            images leave undefined is not in it: roc_auc and average_precision where a class of the model has no image
            (`per_class` has those of the others), cohen_kappa and mcc where only one class occurs and is predicted.
        probabilities: float32 (N, K).
        labels: int64 (N,), true classes as indices into `classes`.
        names: of the images.
        classes: of the model.
        skipped: images that could not be read, which count nowhere.
        logits: (N, K) behind the probabilities, if known; they make the loss exact where a probability rounds to 0.
        decision: which class is named.
    """

    metrics: dict[str, float]
    probabilities: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    logits: np.ndarray | None = field(default=None, repr=False)
    decision: Decision = field(default_factory=Decision)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {self.metrics[name]:.4f}" for name in _SHOWN if name in self.metrics)
        skipped = f"; {count_of(len(self.skipped), 'image')} could not be read" if self.skipped else ""
        return f"Evaluation({count_of(len(self.labels), 'image')} of {classes_text(self.classes)}: {scores}{skipped})"

    def _repr_html_(self) -> str:
        """The metrics, and the confusion matrix of few classes or the worst of many, as a notebook shows them."""
        right = int((self.predicted == self.labels).sum())
        rows = [(name, f"{value:.4f}") for name, value in self.metrics.items()]
        few = len(self.classes) <= _FEW
        classes = (
            html.matrix(self.confusion.tolist(), [one_line(name, 20) for name in self.classes])
            if few
            else self.per_class()._repr_html_()
        )
        skipped = f"{count_of(len(self.skipped), 'image')} could not be read" if self.skipped else ""
        return html.view(
            html.title(f"{right:,} of {count_of(len(self.labels), 'image')} right"),
            *([html.note(skipped)] if skipped else []),
            html.row([html.figure(html.table((), rows)), html.figure(classes)]),
        )

    @cached_property
    def predictions(self) -> Predictions:
        """What the metrics are computed from."""
        return Predictions.of(self.probabilities, self.labels, self.logits, self.predicted)

    @property
    def predicted(self) -> np.ndarray:
        """The class named for each image, int64 (N,): the most probable, if the decision has no thresholds."""
        return self.decision.choose(self.probabilities)

    @property
    def confusion(self) -> np.ndarray:
        """Counts (K, K): rows true, columns predicted."""
        return confusion_matrix(self.labels, self.predicted, len(self.classes))

    def metric(self, name: str) -> float:
        """One metric, computed now: of `xfer.evaluation.metrics.METRICS`, or "top<k>_accuracy" for any k.

        Raises:
            UnknownNameError: there is no such metric. UsageError: it is undefined on these images.
        """
        value = metric(name).compute(self.predictions)
        if value is None:
            raise UsageError(f"{name} is undefined on these images: {self._why_undefined(name)}")
        return value

    def per_class(self) -> ClassReport:
        """Precision, recall, F1, ROC-AUC and average precision of each class, in the model's order."""
        return per_class(self.predictions, self.classes)

    def reliability(self, bins: int = BINS) -> Reliability:
        """Confidence and accuracy in bins of confidence, which `ece` sums up."""
        return reliability(self.predictions.confidence, self.predictions.correct, bins)

    def interval(self, name: str, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Interval:
        """A percentile bootstrap confidence interval of a metric, over images.

        Resamples in which the metric is undefined, such as roc_auc where a rare class was not drawn, are left out; the
        result says how many remain.

        Args:
            name: as in `metric`.
            level: of confidence, between 0 and 1.
            resamples: how often to draw N images with replacement.
            seed: of the draws.

        Raises:
            UnknownNameError: there is no such metric. UsageError: it is undefined, or an argument cannot be.
        """
        self.metric(name)
        return significance.bootstrap(
            self._resampled(name),
            len(self.labels),
            level=level,
            resamples=resamples,
            seed=seed,
        )

    def _resampled(self, name: str) -> Callable[[np.ndarray], float | None]:
        """A metric of some of the images, from counts or sorted scores where they decide it, which is faster."""
        if name in ("roc_auc", "average_precision"):
            images, score = len(self.labels), getattr(Rankings(self.predictions.scores, self.labels), name)
            return lambda chosen: score(np.bincount(chosen, minlength=images))
        if name not in FROM_COUNTS:
            score = metric(name).compute
            return lambda chosen: score(self.predictions.take(chosen))
        count = len(self.classes)
        cells = self.labels * count + self.predicted
        return lambda chosen: FROM_COUNTS[name](np.bincount(cells[chosen], minlength=count**2).reshape(count, count))

    def mcnemar(self, other: Evaluation) -> McNemar:
        """Whether two models are right equally often: McNemar's test on the same images, in the same order.

        Raises:
            UsageError: the evaluations are of different images, or label an image differently.
        """
        if len(self.names) != len(other.names):
            raise UsageError(f"different images: {len(self.names)} in one evaluation, {len(other.names)} in the other")
        for mine, theirs in zip(self.names, other.names, strict=True):
            if mine != theirs:
                raise UsageError(f"different images: {mine!r} in one evaluation stands where {theirs!r} in the other")
        for name, mine, theirs in zip(self.names, self._true_classes(), other._true_classes(), strict=True):
            if mine != theirs:
                raise UsageError(f"different labels: {name!r} is {mine!r} in one evaluation, {theirs!r} in the other")
        return significance.mcnemar(self.predictions.correct, other.predictions.correct)

    def _true_classes(self) -> list[str]:
        return [self.classes[label] for label in self.labels]

    def _why_undefined(self, name: str) -> str:
        if name.startswith("top"):
            return f"the model has {len(self.classes)} classes, so it would always be 1"
        occurring = set(self.labels.tolist())
        absent = [name for i, name in enumerate(self.classes) if i not in occurring]
        if len(absent) >= len(self.classes) - 1:
            return "they are all of one class"
        return f"no image is of class {absent[0]!r}" if absent else "a probability is not a finite number"

    def write_csv(self, path: Path) -> None:
        """One line an image: name, label, predicted, and the probability of every class."""
        with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            out = csv.writer(file)
            out.writerow(["name", "label", "predicted", *self.classes])
            for name, label, guess, row in zip(
                self.names, self.labels, self.predicted, self.probabilities, strict=True
            ):
                out.writerow([name, self.classes[label], self.classes[guess], *(f"{p:.8g}" for p in row)])


def mean(
    evaluations: Sequence[Evaluation], weights: Sequence[float] | None = None, decision: Decision | None = None
) -> Evaluation:
    """The evaluation of averaged probabilities of the same images: soft voting.

    Args:
        evaluations: at least one, of the same images and classes.
        weights: one each, which are scaled to sum 1; equal by default.
        decision: which class is named; the most probable by default.

    Raises:
        UsageError: other images, labels or classes.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        if first.names != other.names or first.classes != other.classes or (first.labels != other.labels).any():
            raise UsageError("the evaluations are of different images, labels or classes: they cannot be averaged")
    share = np.full(len(evaluations), 1.0) if weights is None else np.asarray(weights, np.float64)
    share = share / share.sum()
    total = sum(w * softmax(e.logits) for w, e in zip(share, evaluations, strict=True) if e.logits is not None)
    least = np.finfo(np.float64).tiny
    return evaluate_logits(
        np.log(np.maximum(total, least)), first.labels, first.names, first.classes, decision, first.skipped
    )


def evaluate_logits(
    logits: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    classes: tuple[str, ...],
    decision: Decision | None = None,
    skipped: tuple[Skipped, ...] = (),
    metrics: Iterable[str] = tuple(METRICS),
) -> Evaluation:
    """The evaluation of logits (N, K) against labels int64 (N,), with the temperature and thresholds of a decision."""
    rule = decision or Decision()
    z = rule.scaled(logits)
    probabilities = softmax(z).astype(np.float32)
    predictions = Predictions.of(probabilities, labels, z, rule.choose(probabilities))
    return Evaluation(compute(predictions, metrics), probabilities, labels, tuple(names), classes, skipped, z, rule)
