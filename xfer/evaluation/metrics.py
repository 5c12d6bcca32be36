"""Metrics of a classifier, computed on the host, the same for every backend.

A metric that the predictions do not define, such as the ROC-AUC of a class without images, is None and left out of
dictionaries; it is never a number made up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from xfer.errors import UnknownNameError
from xfer.evaluation.one_vs_rest import average_precisions, roc_aucs
from xfer.evaluation.predictions import Predictions
from xfer.evaluation.reliability import reliability
from xfer.specs.decision import softmax

__all__ = [
    "EPOCH_METRICS",
    "METRICS",
    "Metric",
    "classification_metrics",
    "compute",
    "confusion_matrix",
    "is_metric",
    "metric",
]

# What is computed after every epoch: cheap for any number of classes.
EPOCH_METRICS = ("loss", "accuracy", "top5_accuracy", "macro_f1")


@dataclass(frozen=True)
class Metric:
    """A metric: how it is computed, None where it is undefined, and whether higher is better."""

    compute: Callable[[Predictions], float | None] = field(repr=False)
    higher: bool = True


def classification_metrics(
    logits: np.ndarray, labels: np.ndarray, names: Iterable[str] = EPOCH_METRICS
) -> dict[str, float]:
    """Metrics by name, in that order, undefined ones left out.

    Args:
        logits: (N, K), N at least 1.
        labels: int64 (N,), class indices.
        names: of `METRICS`, or "top<k>_accuracy" for any k.

    Raises:
        UnknownNameError: there is no such metric.
    """
    return compute(Predictions.of(softmax(logits).astype(np.float32), labels, logits), names)


def compute(predictions: Predictions, names: Iterable[str]) -> dict[str, float]:
    """Metrics by name, in that order, undefined ones left out; see `classification_metrics`."""
    values = {name: metric(name).compute(predictions) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def metric(name: str) -> Metric:
    """The metric of a name: one of `METRICS`, or "top<k>_accuracy" for any k from 1.

    Raises:
        UnknownNameError: there is none.
    """
    if name in METRICS:
        return METRICS[name]
    if top := re.fullmatch(r"top([1-9]\d*)_accuracy", name):
        return Metric(partial(_top_accuracy, k=int(top[1])))
    raise UnknownNameError("metric", name, METRICS)


def is_metric(name: str) -> bool:
    """Whether `metric` knows the name."""
    try:
        metric(name)
    except UnknownNameError:
        return False
    return True


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts int64 (K, K): rows are the true classes, columns the predicted ones."""
    from sklearn.metrics import confusion_matrix as count

    return np.asarray(count(labels, predicted, labels=np.arange(classes)), np.int64)


def _loss(predictions: Predictions) -> float:
    return float(predictions.losses.mean())


def _top_accuracy(predictions: Predictions, k: int) -> float | None:
    """Undefined where there are no more than k classes: it would always be 1."""
    return float((predictions.better < k).mean()) if predictions.table.shape[1] > k else None


def _accuracy(predictions: Predictions) -> float:
    return float(predictions.correct.mean())


def _balanced_accuracy(predictions: Predictions) -> float:
    """Mean recall over the classes that occur, which is `sklearn.metrics.balanced_accuracy_score` without a warning."""
    from sklearn.metrics import recall_score

    occurring = np.unique(predictions.labels)
    return float(
        recall_score(predictions.labels, predictions.predicted, labels=occurring, average="macro", zero_division=0.0)
    )


def _precision_recall_f1(predictions: Predictions, which: int, average: str) -> float:
    """Over the classes that occur or are predicted; 0 / 0 counts as 0."""
    from sklearn.metrics import precision_recall_fscore_support

    scores = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, average=average, zero_division=0.0
    )
    return float(scores[which])


def _roc_auc(predictions: Predictions) -> float | None:
    return _mean_over_all(roc_aucs, predictions)


def _average_precision(predictions: Predictions) -> float | None:
    return _mean_over_all(average_precisions, predictions)


def _mean_over_all(scores: Callable[[np.ndarray, np.ndarray], np.ndarray], predictions: Predictions) -> float | None:
    """Mean over all K classes of the model; undefined where one of them has no image, or all."""
    present = len(np.unique(predictions.labels))
    if present < predictions.table.shape[1] or present == 1:
        return None
    return _defined(scores(predictions.scores, predictions.labels).mean())


def _cohen_kappa(predictions: Predictions) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    return None if _one_class(predictions) else float(cohen_kappa_score(predictions.labels, predictions.predicted))


def _mcc(predictions: Predictions) -> float | None:
    from sklearn.metrics import matthews_corrcoef

    return None if _one_class(predictions) else float(matthews_corrcoef(predictions.labels, predictions.predicted))


def _one_class(predictions: Predictions) -> bool:
    """Whether all labels and all predictions are one class, so that chance would be right as well."""
    first = predictions.labels[0]
    return bool((predictions.labels == first).all() and (predictions.predicted == first).all())


def _ece(predictions: Predictions) -> float | None:
    confidence = predictions.confidence
    return reliability(confidence, predictions.correct).error if np.isfinite(confidence).all() else None


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


METRICS: dict[str, Metric] = {
    "loss": Metric(_loss, higher=False),  # the log loss, without class weights or smoothing, so that runs compare
    "accuracy": Metric(_accuracy),
    "top5_accuracy": Metric(partial(_top_accuracy, k=5)),
    "macro_f1": Metric(partial(_precision_recall_f1, which=2, average="macro")),
    "balanced_accuracy": Metric(_balanced_accuracy),
    "macro_precision": Metric(partial(_precision_recall_f1, which=0, average="macro")),
    "macro_recall": Metric(partial(_precision_recall_f1, which=1, average="macro")),
    "weighted_precision": Metric(partial(_precision_recall_f1, which=0, average="weighted")),
    "weighted_recall": Metric(partial(_precision_recall_f1, which=1, average="weighted")),
    "weighted_f1": Metric(partial(_precision_recall_f1, which=2, average="weighted")),
    # One label an image: each false positive is a false negative elsewhere, so these three equal the accuracy.
    "micro_precision": Metric(partial(_precision_recall_f1, which=0, average="micro")),
    "micro_recall": Metric(partial(_precision_recall_f1, which=1, average="micro")),
    "micro_f1": Metric(partial(_precision_recall_f1, which=2, average="micro")),
    "roc_auc": Metric(_roc_auc),
    "average_precision": Metric(_average_precision),
    "cohen_kappa": Metric(_cohen_kappa),
    "mcc": Metric(_mcc),
    "ece": Metric(_ece, higher=False),
}
