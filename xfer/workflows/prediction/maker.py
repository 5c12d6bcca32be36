"""Who makes the parts of a table of predictions: a model in this process, or models in others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xfer.data.dataset import Split
from xfer.models.base_model import BaseModel
from xfer.models.predictor import OnBatch, Predictor
from xfer.specs.inputs import Inputs
from xfer.training.batch_size import largest_pass
from xfer.workflows.prediction.formats import format_of
from xfer.workflows.prediction.identity import model_identity, models_of
from xfer.workflows.prediction.table import Table, empty_table, predictions_table

_ON_HOST = 32  # images of a forward pass; more are no faster there


@dataclass(frozen=True)
class PredictionOptions:
    """What decides a table of predictions beside the model and the images.

    Args:
        top: how many classes to list.
        probabilities: whether the probabilities of all classes are listed.
        batch_size: images of a forward pass; "auto" is 32 on the host, else the largest that fits, at most 256. A job
            continues with the one that it began with.
        tta: test-time augmentation.
    """

    top: int = 5
    probabilities: bool = False
    batch_size: int | Literal["auto"] = 32
    tta: str = "none"


@dataclass(frozen=True)
class Described:
    """What a table is made with.

    Args:
        classes: how many the model tells apart.
        header: the columns, without a row.
        identity: see `model_identity`.
    """

    classes: int
    header: Table
    identity: dict[str, Any]


@dataclass(frozen=True)
class Part:
    """Some rows of a table in the bytes of its format, and how many of their images cannot be read."""

    content: bytes
    unreadable: int


class PartMaker(ABC):
    """Makes parts of a table."""

    @abstractmethod
    def column_names(self) -> tuple[str, ...]:
        """Columns of a table that the model reads beside an image."""

    @abstractmethod
    def describe(self, images: Split, options: PredictionOptions) -> Described:
        """What the table of these images is made with; a precision that is "auto" is chosen on the first of them."""

    @abstractmethod
    def batch_size(self, given: int | Literal["auto"]) -> int:
        """The batch size that was given, or that "auto" is."""

    @abstractmethod
    def make(
        self, parts: Iterable[tuple[int, Split]], options: PredictionOptions, suffix: str, tell: OnBatch
    ) -> Iterator[tuple[int, Part]]:
        """The parts with their numbers, in any order.

        Args:
            parts: the number and the images of each.
            options: with a number as batch size.
            suffix: of the table's file, see `FORMATS`.
            tell: is called with a number of images that are done.
        """


class InProcess(PartMaker):
    """A model or ensemble in this process."""

    def __init__(self, model: Predictor) -> None:
        self.model = model

    def column_names(self) -> tuple[str, ...]:
        """See `PartMaker`."""
        return self.model.column_names

    def describe(self, images: Split, options: PredictionOptions) -> Described:
        """See `PartMaker`."""
        header = empty_table(self.model, top=options.top, probabilities=options.probabilities)
        _resolve_precision(self.model, images)
        return Described(len(self.model.classes), header, model_identity(self.model))

    def batch_size(self, given: int | Literal["auto"]) -> int:
        """See `PartMaker`."""
        return images_a_pass(self.model, given)

    def make(
        self, parts: Iterable[tuple[int, Split]], options: PredictionOptions, suffix: str, tell: OnBatch
    ) -> Iterator[tuple[int, Part]]:
        """See `PartMaker`."""
        for number, split in parts:
            yield number, self.part(split, options, suffix, tell)

    def part(self, split: Split, options: PredictionOptions, suffix: str, tell: OnBatch | None = None) -> Part:
        """The rows of some images."""
        assert options.batch_size != "auto"
        found = self.model.predict_split(split, batch_size=options.batch_size, tta=options.tta, on_batch=tell)
        table = predictions_table(self.model, split.names, found, top=options.top, probabilities=options.probabilities)
        return Part(format_of(Path(f"table{suffix}")).part(table), len(found.unreadable))


def _resolve_precision(model: Predictor, images: Split) -> None:
    """Choose a precision that is "auto" on the first images, wherever the job is continued."""
    for network in models_of(model):
        for start in range(0, len(images), _ON_HOST):
            if not network.undecided:
                break
            network.resolve_precision_on(images.subset(np.arange(start, min(start + _ON_HOST, len(images)))))


def images_a_pass(model: Predictor, given: int | Literal["auto"]) -> int:
    """The batch size that was given, or that "auto" is."""
    if given != "auto":
        return given
    return min(_ON_HOST if network.spec.device == "cpu" else _largest_pass(network) for network in models_of(model))


def _largest_pass(network: BaseModel) -> int:
    size, width = network.spec.preprocessing.size, network.spec.columns

    def run(images: int) -> None:
        blank = np.zeros((images, width)) if width else None
        network.logits(Inputs(np.zeros((images, size, size, 3), np.uint8), None, blank))

    return largest_pass(run, network.backend.out_of_memory)
