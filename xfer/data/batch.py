"""Batches, and images that could not be read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from xfer.runtime.progress import work
from xfer.runtime.text import one_line
from xfer.specs.inputs import Inputs


@dataclass(frozen=True)
class Skipped:
    """An image that could not be read, and why; whether a blank one of the mean colour stood in for it."""

    name: str
    reason: str
    imputed: bool = False

    def __repr__(self) -> str:
        imputed = ", imputed=True" if self.imputed else ""
        return f"Skipped(name='{one_line(self.name, 80)}', reason='{one_line(self.reason, 120)}'{imputed})"


@dataclass(frozen=True, eq=False)
class Batch:
    """What a model is given at once.

    In a run of several processes, labels and indices are those of the whole batch, in every process; images and
    columns are this process's share of it, which may be empty.

    Args:
        images: uint8 (N, S, S, 3), or outputs of the stage `after`.
        labels: int64 (N,), -1 for none; or float64, shares of classes (N, K) or targets of tasks (N, M).
        indices: int64 (N,), of the samples in their split.
        number: which batch of the epoch this is, counted from 0.
        after: see `Inputs`.
        columns: float64 (N, C), what joins the features, if anything does.
        shards: see `Inputs`.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    number: int
    after: str | None = None
    columns: np.ndarray | None = None
    shards: tuple[int, ...] = ()

    @property
    def labelled(self) -> int:
        """How many samples have a label, or a target of any task: those that count in the loss."""
        if self.labels.ndim == 1:
            return int((self.labels >= 0).sum())
        return int((~np.isnan(self.labels)).any(axis=1).sum())

    @property
    def inputs(self) -> Inputs:
        """What a model is given."""
        return Inputs(self.images, self.after, self.columns, self.shards)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        what = "images" if self.after is None else f"outputs of {self.after!r}"
        return f"Batch(number {self.number}: {what} {self.images.dtype} {self.images.shape}, {self.labelled} labelled)"


def reported(
    batches: Generator[Batch, None, None], doing: str, start: int, size: int, images: int
) -> Generator[Batch, None, None]:
    """Batches from number `start` on, and their progress: one is done when the next is asked for.

    Args:
        batches: of `size` images, of which some may be missing.
        doing: what the progress is called.
        start: the first of them.
        size: images of a batch.
        images: of all batches, those before `start` too.
    """
    with work(doing, images, done=start * size) as report, closing(batches):
        for batch in batches:
            yield batch
            report.reach(min((batch.number + 1) * size, images))
