"""A model's answers on labelled data, and what they are worth."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer import significance
from xfer.answers import Answers
from xfer.calibration import BINS, Reliability, reliability
from xfer.errors import DataError, UsageError
from xfer.metrics import METRICS, classification_metrics, confusion_matrix, metric
from xfer.model import softmax
from xfer.per_class import ClassScores, per_class
from xfer.significance import Interval, McNemar

if TYPE_CHECKING:
    from xfer.data import Data, Loader, OnBad, Skipped, Split
    from xfer.model import BaseModel


@dataclass(frozen=True)
class Evaluation:
    """Answers on N labelled images.

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
    """

    metrics: dict[str, float]
    probabilities: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    logits: np.ndarray | None = field(default=None, repr=False)

    @cached_property
    def answers(self) -> Answers:
        """What the metrics are computed from."""
        return Answers.of(self.probabilities, self.labels, self.logits)

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each image, int64 (N,)."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def confusion(self) -> np.ndarray:
        """Counts (K, K): rows true, columns predicted."""
        return confusion_matrix(self.labels, self.predicted, len(self.classes))

    def metric(self, name: str) -> float:
        """One metric, computed now: of `xfer.metrics.METRICS`, or "top<k>_accuracy" for any k.

        Raises:
            UnknownNameError: there is no such metric. UsageError: it is undefined on these images.
        """
        value = metric(name).compute(self.answers)
        if value is None:
            raise UsageError(f"{name} is undefined on these images: {self._why_undefined()}")
        return value

    def per_class(self) -> tuple[ClassScores, ...]:
        """Precision, recall, F1, ROC-AUC and average precision of each class, in the model's order."""
        return per_class(self.answers, self.classes)

    def reliability(self, bins: int = BINS) -> Reliability:
        """Confidence and accuracy in bins of confidence, which `ece` sums up."""
        return reliability(self.answers.confidence, self.answers.correct, bins)

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
        compute = metric(name).compute
        return significance.bootstrap(
            lambda chosen: compute(self.answers.take(chosen)),
            len(self.labels),
            level=level,
            resamples=resamples,
            seed=seed,
        )

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
        return significance.mcnemar(self.answers.correct, other.answers.correct)

    def _true_classes(self) -> list[str]:
        return [self.classes[label] for label in self.labels]

    def _why_undefined(self) -> str:
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


def evaluate(
    model: BaseModel, data: Any, *, batch_size: int = 32, workers: int | None = None, on_bad: OnBad = "report"
) -> Evaluation:
    """Metrics of `model` on data: the validation split if there is one, else the test split, else all of it.

    Args:
        model: its classes must include those of the data; they are matched by name.
        data: a split, or whatever `xfer.data.load` takes.
        batch_size: images a forward pass.
        workers: decoding threads; None for one a core.
        on_bad: "report" lists unreadable images in `skipped`; "raise" stops at the first.

    Raises:
        DataError: classes that the model does not know, or not one readable image; with `on_bad="raise"`, an
            image that cannot be read, by name.
    """
    from xfer.data import load

    return run(model, evaluation_loader(model, load(data), batch_size=batch_size, workers=workers, on_bad=on_bad))


def evaluation_loader(
    model: BaseModel, data: Data, *, batch_size: int, workers: int | None, on_bad: OnBad = "report"
) -> Loader:
    """A loader of the split to evaluate on, its labels those of the model."""
    from xfer.data import Loader

    split = next(s for s in (data.val, data.test, data.train) if s is not None)
    labelled, preprocessing = relabelled(model, data, split), model.spec.preprocessing
    return Loader(labelled, preprocessing, batch_size=batch_size, workers=workers, on_bad=on_bad)


def relabelled(model: BaseModel, data: Data, split: Split) -> Split:
    """A split of `data` with the model's class indices for labels.

    Raises:
        DataError: a class that the model does not know.
    """
    from xfer.data import Split

    if data.classes == model.classes:
        return split
    unknown = [name for name in data.classes if name not in model.classes]
    if unknown:
        raise DataError(
            f"the data has class {unknown[0]!r}, which the model does not know: it has {_few(model.classes)}"
        )
    places = np.array([model.classes.index(name) for name in data.classes], np.int64)
    labels = np.where(split.labels < 0, split.labels, places[split.labels])
    return Split(split.images, labels, split.names, model.classes)


def run(model: BaseModel, loader: Loader, metrics: Iterable[str] = tuple(METRICS)) -> Evaluation:
    """Metrics of `model` over one pass of `loader`, whose labels are the model's; by default all of them."""
    logits, labels, indices = [], [], []
    for batch in loader.epoch(0):
        logits.append(model.logits(batch.images))
        labels.append(batch.labels)
        indices.append(batch.indices)
    z, y = np.concatenate(logits), np.concatenate(labels)
    return Evaluation(
        metrics=classification_metrics(z, y, metrics),
        probabilities=softmax(z).astype(np.float32),
        labels=y,
        names=tuple(loader.split.names[i] for i in np.concatenate(indices)),
        classes=model.classes,
        skipped=tuple(loader.skipped),
        logits=z,
    )


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
