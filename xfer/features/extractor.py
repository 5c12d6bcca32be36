"""Who computes the features that are missing in the cache: a network in this process, or networks in others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np

from xfer.data import Split
from xfer.errors import UnknownNameError
from xfer.features.compute import compute, rows_of
from xfer.features.keys import Job, plain_job
from xfer.features.store import Writer
from xfer.models.base_model import BaseModel

Tell = Callable[[int], object]


class Extractor(ABC):
    """Computes outputs of one block."""

    @abstractmethod
    def job(self, split: Split, batch_size: int, workers: int | None) -> Job:
        """The job of a split whose images are taken as they are."""

    @abstractmethod
    def namespace(self, splits: Iterable[Split], augmented: str = "") -> str:
        """The name of the folder that the rows belong into; a precision that is "auto" is chosen on the splits."""

    @abstractmethod
    def row_bytes(self) -> int:
        """Bytes of a row."""

    @abstractmethod
    def compute(self, job: Job, missing: Collection[bytes], out: Writer, tell: Tell) -> dict[bytes, str]:
        """Write the rows of these digests, each once; the reasons of the unreadable, by digest.

        Args:
            job: images, and their digests.
            missing: digests to compute.
            out: is given the rows.
            tell: is called with a number of rows that are computed.
        """


class InProcess(Extractor):
    """A network in this process.

    Args:
        model: in inference mode.
        after: the block, or "features".

    Raises:
        UnknownNameError: no such block.
    """

    def __init__(self, model: BaseModel, after: str) -> None:
        if after not in model.entries:
            raise UnknownNameError("block", after, model.entries)
        self.model, self.after = model, after

    def job(self, split: Split, batch_size: int, workers: int | None) -> Job:
        """See `Extractor`."""
        return plain_job(self.model.spec.preprocessing, split, batch_size, workers)

    def namespace(self, splits: Iterable[Split], augmented: str = "") -> str:
        """See `Extractor`."""
        for split in splits:
            self.model.resolve_precision_on(split)
        return self.model.fingerprint(self.after, augmented)

    def row_bytes(self) -> int:
        """See `Extractor`."""
        return estimate(self.model, self.after, 1)

    def compute(self, job: Job, missing: Collection[bytes], out: Writer, tell: Tell) -> dict[bytes, str]:
        """See `Extractor`."""
        return compute(self.model, job, missing, self.after, out, tell)

    def rows(self, job: Job, asked: np.ndarray, size: int) -> Iterator[tuple[list[bytes], np.ndarray]]:
        """Rows of some images, batch by batch; see `rows_of`."""
        return rows_of(self.model, job, asked, size, self.after)


def estimate(model: BaseModel, after: str, images: int) -> int:
    """Bytes that the outputs of so many images take."""
    if after == "features" and not model.card.head_per_place:  # known without a pass
        return images * model.card.feature_dim * (8 if model.spec.precision == "fp64" else 4)
    size = model.spec.preprocessing.size
    return images * int(model.stage(np.zeros((1, size, size, 3), np.uint8), after).nbytes)
