"""Metrics class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfer.evaluation.one_vs_rest import average_precisions, roc_aucs
from xfer.evaluation.predictions import Predictions
from xfer.runtime import html
from xfer.runtime.text import count_of, listed, one_line

_ROWS = 20  # of a table in a notebook


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

    def __repr__(self) -> str:
        scores = f"precision={self.precision:.4f}, recall={self.recall:.4f}, f1={self.f1:.4f}"
        return f"ClassScores('{one_line(self.name)}', images={self.images}, predicted={self.predicted}, {scores})"


class ClassReport(tuple[ClassScores, ...]):
    """The scores of all classes, in the model's order."""

    __slots__ = ()

    @property
    def worst(self) -> list[ClassScores]:
        """The classes with the lowest F1 first; of equals, those with more images."""
        return sorted(self, key=lambda scores: (scores.f1, -scores.images))

    def __repr__(self) -> str:
        lowest = listed([f"{one_line(scores.name)} {scores.f1:.4f}" for scores in self.worst], 3, 40)
        return f"ClassReport({count_of(len(self), 'class', 'classes')}; lowest F1: {lowest})"

    def _repr_html_(self) -> str:
        """A row a class, the lowest F1 first, as a notebook shows it."""
        rows = [
            (one_line(s.name, 40), s.images, f"{s.precision:.4f}", f"{s.recall:.4f}", f"{s.f1:.4f}", s.f1)
            for s in self.worst[:_ROWS]
        ]
        head = ("class", "images", "precision", "recall", "F1", "")
        return html.view(html.table(head, rows, bar=5), html.more(len(rows), len(self), "classes"))


def per_class(predictions: Predictions, classes: Sequence[str]) -> ClassReport:
    """One row a class of the model, in its order, those without images included."""
    from sklearn.metrics import precision_recall_fscore_support

    count, scores = len(classes), predictions.scores
    precision, recall, f1, images = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=np.arange(count), zero_division=0.0
    )
    predicted = np.bincount(predictions.predicted, minlength=count)
    aucs, averages = roc_aucs(scores, predictions.labels), average_precisions(scores, predictions.labels)
    return ClassReport(
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
