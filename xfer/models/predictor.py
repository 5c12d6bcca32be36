"""Predictor: what models and ensembles predict for images, all at once or one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from xfer.data.batch import Skipped
from xfer.data.dataset import Split
from xfer.data.sources.load import pictures, windows
from xfer.errors import DataError, UnreadableError, UsageError, check_name
from xfer.models.prediction_list import PredictionList
from xfer.models.predictions import OnUnreadable, Prediction, SplitPredictions, by_task, rank
from xfer.runtime.progress import work
from xfer.specs.decision import Decision
from xfer.specs.tasks import Task

OnBatch = Callable[[float], object]
PREDICTING = "predicting"

_BATCHES, _IMAGES = 16, 512  # of a window: one of the two at least,
_NUMBERS = 1 << 21  # and as few images as have so many outputs


class Predictor(ABC):
    """What predicts for a split, and so for anything that has images in it.

    Attributes:
        decision: temperature and thresholds, by which a class is named.
    """

    decision: Decision

    @property
    @abstractmethod
    def name(self) -> str:
        """For titles and messages."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the outputs."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Its tasks, if it has several."""
        return ()

    @property
    @abstractmethod
    def column_names(self) -> tuple[str, ...]:
        """Columns of a table that it reads beside an image."""

    @abstractmethod
    def predict_split(
        self, split: Split, *, batch_size: int = 32, tta: str = "none", on_batch: OnBatch | None = None
    ) -> SplitPredictions:
        """Predictions for the images of a split, and which cannot be read; the errors are those of `predict`.

        Args:
            split: labels do not matter; it has the columns that the model reads.
            batch_size, tta: as in `predict`.
            on_batch: called after each batch with its number of images, divided by how often each image is read.
        """

    def predict_proba(
        self,
        images: Any,
        *,
        columns: Any = None,
        batch_size: int = 32,
        tta: str = "none",
        on_bad: OnUnreadable = "raise",
    ) -> np.ndarray:
        """Class probabilities float32 (N, K) in the order of `classes`, NaN for what cannot be read; see `predict`."""
        found, split = self._predicted(images, columns, on_bad, batch_size=batch_size, tta=tta)
        return np.asarray(found.of_all(split.names, on_bad))

    def predict(
        self,
        images: Any,
        *,
        columns: Any = None,
        top: int = 5,
        batch_size: int = 32,
        tta: str = "none",
        on_bad: OnUnreadable = "raise",
    ) -> PredictionList:
        """Classify images: a list with one `Prediction` for each image, also for a single one.

        Args:
            images: a path, a Pillow image, a uint8 array (H, W, 3) or (N, H, W, 3), a list of these, or a split.
            columns: rows of cells of a table, one for each image, where the model reads columns.
            top: how many classes to list for each image.
            batch_size: images of a forward pass.
            tta: test-time augmentation: the mean over views of each image; see `xfer.data.transforms.test_time`.
            on_bad: "report" has None for an image that cannot be read, with a line on stderr.

        Raises:
            UnreadableError: an image that cannot be read, by name, after all others were: `predictions` has theirs.
            NumbersError: a prediction is not finite. DataError: something that is no image.
        """
        found, split = self._predicted(images, columns, on_bad, batch_size=batch_size, tta=tta)
        ranked = PredictionList.of(rank(found, self.classes, self.decision, top), split)
        try:
            found.of_all(split.names, on_bad)
        except UnreadableError as error:
            error.predictions = ranked
            raise
        return ranked

    def predict_iter(
        self, images: Any, *, columns: Any = None, top: int = 5, batch_size: int = 32, tta: str = "none"
    ) -> Iterator[Prediction | dict[str, dict[str, float]] | Skipped]:
        """Classify images one after another in bounded memory, with the predictions of `predict`, in their order.

        Of a model with several tasks each is a dict: for each task the probabilities of its classes or labels, or
        numbers, by name. For an image that cannot be read it is a `Skipped`, with its name and the reason.

        Args:
            images: what `predict` takes, or an iterator over images, which is read as it goes, about 512 at a time. A
                file that is not there is one that cannot be read.
            columns: rows of cells of a table, one for each image, where the model reads columns; or an iterator.
            top, batch_size, tta: as in `predict`.

        Raises:
            NumbersError: a prediction is not finite. DataError: something that is no image, or not one row for each.
        """
        rows = None if columns is None or not self.column_names else iter(columns)
        with work(PREDICTING, len(images) if isinstance(images, Split | list | tuple) else None) as report:
            for split in windows(images, window(len(self.classes), batch_size)):
                if rows is not None:
                    cells = [row for _, row in zip(split.names, rows, strict=False)]
                    split = with_cells(split, cells, self.column_names)
                found = self.predict_split(split, batch_size=batch_size, tta=tta, on_batch=report.advance)
                each = by_task(self.tasks, found) if self.tasks else rank(found, self.classes, self.decision, top)
                for i, predicted in enumerate(each):
                    yield Skipped(split.names[i], found.unreadable[i]) if predicted is None else predicted
        if rows is not None and next(rows, None) is not None:
            raise DataError("there are more rows of columns than images: give one row for each")

    def _predicted(
        self, images: Any, columns: Any, on_bad: OnUnreadable, **options: Any
    ) -> tuple[SplitPredictions, Split]:
        """Predictions of one task, and the images."""
        if self.tasks:
            raise UsageError(f"{self.name} has {len(self.tasks)} tasks: call predict_tasks or predict_iter")
        check_name("on_bad", on_bad, get_args(OnUnreadable))
        split = split_of(images, columns, self.column_names)
        with work(PREDICTING, len(split)) as report:
            return self.predict_split(split, **options, on_batch=report.advance), split


def window(classes: int, batch_size: int) -> int:
    """Images that are predicted together: whole batches, so that a batch is the same wherever prediction begins."""
    return batch_size * max(1, min(max(_BATCHES, _IMAGES // batch_size), _NUMBERS // (max(classes, 1) * batch_size)))


def split_of(images: Any, columns: Any, names: tuple[str, ...]) -> Split:
    """Images as a split, with rows of the columns that a model reads."""
    split = pictures(images)
    return split if columns is None or not names else with_cells(split, columns, names)


def with_cells(split: Split, rows: Sequence[Any], names: tuple[str, ...]) -> Split:
    """A split with rows of cells beside its images, each a mapping by name or in the order of the names.

    Raises:
        DataError: not one row for each image.
    """
    cells = np.empty((len(rows), len(names)), object)
    for i, row in enumerate(rows):
        cells[i] = [row[name] for name in names] if isinstance(row, Mapping) else list(row)
    return replace(split, columns=cells, column_names=names)
