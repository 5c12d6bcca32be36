"""Metrics class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfer.evaluation.one_vs_rest import average_precisions, roc_aucs
from xfer.evaluation.predictions import Predictions


@dataclass(frozen=True)
class ClassScores:
    """One class against the rest.

    Args:
        name: of the class.
        images: that are of it.
        predicted: images said to be of it.
        precision, recall, f1: 0 where they are 0 / 0, as in the macro means.
        roc_auc, average_precision: None where no image is of the class, or all are.
    """

    name: str
    images: int
    predicted: int
    precision: float
    recall: float
    f1: float
    roc_auc: float | None
    average_precision: float | None


def per_class(predictions: Predictions, classes: Sequence[str]) -> tuple[ClassScores, ...]:
    """One row a class of the model, in its order, those without images included."""
    from sklearn.metrics import precision_recall_fscore_support

    count, scores = len(classes), predictions.scores
    precision, recall, f1, images = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=np.arange(count), zero_division=0.0
    )
    predicted = np.bincount(predictions.predicted, minlength=count)
    aucs, averages = roc_aucs(scores, predictions.labels), average_precisions(scores, predictions.labels)
    return tuple(
        ClassScores(
            name=name,
            images=int(images[i]),
            predicted=int(predicted[i]),
            precision=float(precision[i]),
            recall=float(recall[i]),
            f1=float(f1[i]),
            roc_auc=None if np.isnan(aucs[i]) else float(aucs[i]),
            average_precision=None if np.isnan(averages[i]) else float(averages[i]),
        )
        for i, name in enumerate(classes)
    )
