"""Filling the feature cache with networks in the processes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from xfer.data import Data, Split
from xfer.features.compute import passes, places_of, reasons_of
from xfer.features.extractor import Extractor, InProcess, Tell
from xfer.features.keys import Job, digests_of, job_of, plain_job
from xfer.features.store import Writer
from xfer.models.base_model import BaseModel
from xfer.runtime.progress import work
from xfer.specs.preprocessing import Preprocessing
from xfer.specs.settings import RunSettings
from xfer.workflows.opening import Opening
from xfer.workflows.ray.cluster import connected, share
from xfer.workflows.ray.pool import Pool
from xfer.workflows.ray.prediction import check_same, first_of
from xfer.workflows.setup import model_of

_HASHED = 1024  # images of a task
_BYTES = 32 << 20  # of the rows of a task
_BATCHES = 16  # of a task at most: what a lost machine costs


@contextmanager
def extracting(config: RunSettings, data: Data, after: str, processes: int) -> Iterator[OnRay]:
    """What `FeatureCache.fill_by` takes: networks in processes that Ray starts.

    The cluster is the one that `RAY_ADDRESS` names, else one that begins and ends with the context. Every machine needs
    the images and the weights under the same paths.

    Args:
        config: which network.
        data: its classes are the network's.
        after: the block, or "features".
        processes: how many.

    Raises:
        UsageError: no Ray, or no processes.
    """
    opening = Opening(config.model, None, config.device, config.weights).elsewhere()
    settings = config.model_copy(update={"model": opening.run, "weights": opening.weights})
    nothing = replace(data, train=data.train.subset([]).detached(), val=None, test=None)
    with connected(processes):
        yield OnRay(partial(model_of, settings, nothing), after, processes, share(processes, config.device))


class OnRay(Extractor):
    """Networks in the processes of a pool: they read and compute, and this process alone writes into its cache.

    So the machines need not share the cache's folder. Rows whose process was lost are computed by another one, and rows
    that are written are not computed again. A row has the bits that a single process would give it, if the machines are
    of one kind.

    Args:
        open_model: makes the network in a worker, in inference mode.
        after: the block, or "features".
        processes: how many workers.
        resources: of each, see `xfer.workflows.ray.cluster.share`.
    """

    def __init__(
        self, open_model: Callable[[], BaseModel], after: str, processes: int, resources: dict[str, float]
    ) -> None:
        self._pool = Pool(partial(_Worker, open_model, after), processes, resources)
        self._preprocessing: Preprocessing | None = None
        self._first: list[Split] = []
        self._name = ""

    def job(self, split: Split, batch_size: int, workers: int | None) -> Job:
        """See `Extractor`. The digests are computed by the workers, so this process reads no image."""
        if self._preprocessing is None:
            self._preprocessing = self._one("preprocessing")
        parts = [np.arange(start, min(start + _HASHED, len(split))) for start in range(0, len(split), _HASHED)]
        found: dict[int, list[bytes]] = {}
        with work("hashing images", len(split)) as report:
            tasks = ((split.subset(part).detached(), workers) for part in parts)
            for number, digests in self._pool.map("digests", tasks):
                found[number] = digests
                report.advance(len(digests))
        digests = [digest for number in range(len(parts)) for digest in found[number]]
        return job_of(self._preprocessing, split, batch_size, workers, digests)

    def namespace(self, splits: Iterable[Split], augmented: str = "") -> str:
        """See `Extractor`."""
        self._first = [first_of(split) for split in splits]
        self._name = str(self._one("namespace", self._first, augmented))
        return self._name

    def row_bytes(self) -> int:
        """See `Extractor`."""
        return int(self._one("row_bytes", self._first))

    def compute(self, job: Job, missing: Collection[bytes], out: Writer, tell: Tell) -> dict[bytes, str]:
        """See `Extractor`."""
        wanted, reasons = set(missing), dict[bytes, str]()
        for _, (digests, rows, bad) in self._pool.map("rows", self._tasks(job, wanted)):
            reasons |= bad
            new = [place for place, digest in enumerate(digests) if digest in wanted]
            if new:
                out.append([digests[place] for place in new], rows[new])
                tell(len(new))
        return reasons

    def _tasks(self, job: Job, missing: set[bytes]) -> Iterator[tuple[Any, ...]]:
        """Whole batches, so that every row is computed in a batch of the size that it has in one process."""
        row = max(self.row_bytes(), 1)
        for asked, size in passes(job, places_of(job), missing):
            images = size * max(1, min(_BATCHES, _BYTES // (size * row)))
            for start in range(0, len(asked), images):
                part = asked[start : start + images]
                split = job.loader.split.subset(job.keys[part, 1]).detached()
                digests = [job.digests[place] for place in part.tolist()]
                yield self._first, self._name, split, digests, size, job.loader.batch_size

    def _one(self, method: str, *arguments: Any) -> Any:
        """What one of the workers says."""
        return next(self._pool.map(method, [arguments]))[1]


class _Worker:
    """A network, and what it is asked for."""

    def __init__(self, open_model: Callable[[], BaseModel], after: str) -> None:
        self._extractor = InProcess(open_model(), after)

    def preprocessing(self) -> Preprocessing:
        return self._extractor.model.spec.preprocessing

    def digests(self, split: Split, workers: int | None) -> list[bytes]:
        return digests_of(split, workers)

    def namespace(self, first: list[Split], augmented: str = "") -> str:
        return self._extractor.namespace(first, augmented)

    def row_bytes(self, first: list[Split]) -> int:
        self.namespace(first)
        return self._extractor.row_bytes()

    def rows(
        self, first: list[Split], name: str, split: Split, digests: list[bytes], size: int, batch_size: int
    ) -> tuple[list[bytes], np.ndarray, dict[bytes, str]]:
        check_same({"network": self.namespace(first)}, {"network": name})
        job = plain_job(self.preprocessing(), split, batch_size, None, digests)
        found = list(self._extractor.rows(job, np.arange(len(split)), size))
        rows = np.concatenate([each for _, each in found]) if found else np.zeros((0, 1), np.float32)
        return [digest for named, _ in found for digest in named], rows, reasons_of(job, places_of(job))
