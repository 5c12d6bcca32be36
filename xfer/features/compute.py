"""Computing the features that are missing in the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator

import numpy as np

from xfer.features import store
from xfer.features.keys import Job
from xfer.models.base_model import BaseModel

_FLUSH = 64 << 20  # bytes of rows between two writes
_SECONDS = 10.0  # at the most between two writes: what a kill costs on a slow machine


def compute(
    model: BaseModel,
    job: Job,
    missing: Collection[bytes],
    after: str,
    out: store.Writer,
    tell: Callable[[int], object],
) -> dict[bytes, str]:
    """Write the rows that are missing, each digest once; the reasons of the unreadable, by digest.

    An engine may round otherwise in batches of another size, but does not mix images. So each row is computed in a
    batch of the size that it has when all are computed: of `batch_size`, or what is left over at the end. What a kill
    has left undone gets the same bits later. `tell` is called with the number of rows after each batch.
    """
    rows: list[np.ndarray] = []
    made: list[bytes] = []
    written = time.monotonic()
    places = places_of(job)
    for asked, size in passes(job, places, missing):
        for named, found in rows_of(model, job, asked, size, after):
            new = np.array([digest in missing for digest in named])
            rows.append(found[new])
            made += [digest for digest, is_new in zip(named, new, strict=True) if is_new]
            tell(int(new.sum()))
            if sum(row.nbytes for row in rows) >= _FLUSH or time.monotonic() - written >= _SECONDS:
                out.append(made, np.concatenate(rows))
                rows, made, written = [], [], time.monotonic()
    if made:
        out.append(made, np.concatenate(rows))
    return reasons_of(job, places)


def places_of(job: Job) -> np.ndarray:
    """Where each digest of a job stands first, int64 (N,)."""
    first: dict[bytes, int] = {}
    for place, digest in enumerate(job.digests):
        first.setdefault(digest, place)
    return np.array(list(first.values()), np.int64)


def reasons_of(job: Job, places: np.ndarray) -> dict[bytes, str]:
    """Why images at these places were found unreadable, by digest."""
    bad = job.loader.unreadable
    return {job.digests[place]: bad[int(index)] for place in places if (index := job.keys[place, 1]) in bad}


def rows_of(
    model: BaseModel, job: Job, asked: np.ndarray, size: int, after: str
) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """The rows of images of one view, and their digests, batch by batch; of images that cannot be read, none.

    Args:
        model: the network.
        job: the images.
        asked: int64 (N,), their places in the job.
        size: of the batches that the network is given: what is left over is filled up.
        after: the block.
    """
    view = int(job.keys[asked[0], 0])
    for batch in job.loader.epoch(view, keys=job.keys[asked, 1:], allow_nothing=True):
        blank = np.zeros((size - len(batch), *batch.images.shape[1:]), batch.images.dtype)
        found = model.stage(np.concatenate([batch.images, blank]), after)[: len(batch)]
        here = asked[batch.number * job.loader.batch_size :][: job.loader.batch_size]
        yield [job.digests[place] for place in here[np.isin(job.keys[here, 1], batch.indices)]], found


def passes(job: Job, places: np.ndarray, missing: Collection[bytes]) -> Iterator[tuple[np.ndarray, int]]:
    """What to read to make the rows that are missing, and the size of its batches, for each view."""
    size = job.loader.batch_size
    lacking = np.array([job.digests[place] in missing for place in places], bool)
    for view in np.unique(job.keys[places, 0]).tolist():
        of_view = job.keys[places, 0] == view
        mine, needed = places[of_view], lacking[of_view]
        whole = len(mine) // size * size
        if needed[:whole].any():
            yield mine[:whole][needed[:whole]], size
        if needed[whole:].any():
            yield mine[whole:], len(mine) - whole
