"""A model's answers on labelled data, and what they are worth."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.errors import DataError
from xfer.metrics import classification_metrics, confusion_matrix
from xfer.model import softmax

if TYPE_CHECKING:
    from xfer.data import Data, Loader, OnBad, Skipped, Split
    from xfer.model import BaseModel


@dataclass(frozen=True)
class Evaluation:
    """Answers on N labelled images.

    Args:
        metrics: loss, accuracy, top5_accuracy, macro_f1.
        probabilities: float32 (N, K).
        labels: int64 (N,), true classes as indices into `classes`.
        names: of the images.
        classes: of the model.
        skipped: images that could not be read, which count nowhere.
    """

    metrics: dict[str, float]
    probabilities: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each image, int64 (N,)."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def confusion(self) -> np.ndarray:
        """Counts (K, K): rows true, columns predicted."""
        return confusion_matrix(self.labels, self.predicted, len(self.classes))

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


def run(model: BaseModel, loader: Loader) -> Evaluation:
    """Metrics of `model` over one pass of `loader`, whose labels are the model's."""
    logits, labels, indices = [], [], []
    for batch in loader.epoch(0):
        logits.append(model.logits(batch.images))
        labels.append(batch.labels)
        indices.append(batch.indices)
    z, y = np.concatenate(logits), np.concatenate(labels)
    return Evaluation(
        metrics=classification_metrics(z, y),
        probabilities=softmax(z).astype(np.float32),
        labels=y,
        names=tuple(loader.split.names[i] for i in np.concatenate(indices)),
        classes=model.classes,
        skipped=tuple(loader.skipped),
    )


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
