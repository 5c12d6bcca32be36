"""Predicting a table with models in the processes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np

from xfer.data.dataset import Split
from xfer.errors import UsageError
from xfer.models.predictor import OnBatch, Predictor
from xfer.workflows.opening import Opening
from xfer.workflows.prediction.maker import Described, InProcess, Part, PartMaker, PredictionOptions
from xfer.workflows.ray.cluster import connected, share
from xfer.workflows.ray.pool import Pool

_FIRST = 512  # images


@contextmanager
def predicting(opening: Opening, processes: int) -> Iterator[OnRay]:
    """What `PredictionJob.run` takes in the place of a model: models in processes that Ray starts.

    The cluster is the one that `RAY_ADDRESS` names, else one that begins and ends with the context. Every machine needs
    the images and the run under the same paths; the table is written by this process.

    Args:
        opening: of the model.
        processes: how many.

    Raises:
        UsageError: no Ray, or no processes.
    """
    with connected(processes):
        yield OnRay(opening.elsewhere(), processes, share(processes, opening.device))


class OnRay(PartMaker):
    """Models in the processes of a pool: the parts of the table are theirs, and this process writes them.

    A part whose process was lost is made by another one, and what is written is not made again. Every part has the
    bytes that a single process would give it, if the machines are of one kind.

    Args:
        open_model: makes the model in a worker.
        processes: how many workers.
        resources: of each, see `xfer.workflows.ray.cluster.share`.
    """

    def __init__(self, open_model: Callable[[], Predictor], processes: int, resources: dict[str, float]) -> None:
        self._pool = Pool(partial(_Worker, open_model), processes, resources)
        self._first: Split | None = None
        self._identity: dict[str, Any] = {}

    def column_names(self) -> tuple[str, ...]:
        """See `PartMaker`."""
        return tuple(self._one("column_names"))

    def describe(self, images: Split, options: PredictionOptions) -> Described:
        """See `PartMaker`."""
        self._first = first_of(images)
        found: Described = self._one("describe", self._first, options)
        self._identity = found.identity
        return found

    def batch_size(self, given: int | Literal["auto"]) -> int:
        """See `PartMaker`."""
        return int(self._one("batch_size", given))

    def make(
        self, parts: Iterable[tuple[int, Split]], options: PredictionOptions, suffix: str, tell: OnBatch
    ) -> Iterator[tuple[int, Part]]:
        """See `PartMaker`."""
        under_way: dict[int, tuple[int, int]] = {}  # by the task's number, that of the part and how many images it has

        def tasks() -> Iterator[tuple[Any, ...]]:
            for place, (number, split) in enumerate(parts):
                under_way[place] = number, len(split)
                yield self._first, self._identity, split.detached(), options, suffix

        for place, part in self._pool.map("part", tasks()):
            number, images = under_way.pop(place)
            tell(images)
            yield number, part

    def _one(self, method: str, *arguments: Any) -> Any:
        """What one of the workers says."""
        return next(self._pool.map(method, [arguments]))[1]


class _Worker:
    """A model, and what it is asked for."""

    def __init__(self, open_model: Callable[[], Predictor]) -> None:
        self._maker = InProcess(open_model())
        self._described: Described | None = None

    def column_names(self) -> tuple[str, ...]:
        return self._maker.column_names()

    def describe(self, first: Split, options: PredictionOptions) -> Described:
        if self._described is None:
            self._described = self._maker.describe(first, options)
        return self._described

    def batch_size(self, given: int | Literal["auto"]) -> int:
        return self._maker.batch_size(given)

    def part(
        self, first: Split, identity: dict[str, Any], split: Split, options: PredictionOptions, suffix: str
    ) -> Part:
        mine = self.describe(first, options).identity
        check_same(mine, identity)
        return self._maker.part(split, options, suffix)


def first_of(images: Split) -> Split:
    """The images on which a precision that is "auto" is chosen, for other processes."""
    return images.subset(np.arange(min(_FIRST, len(images)))).detached()


def check_same(mine: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse a worker that would compute something else than the others.

    Raises:
        UsageError: by the names of what is different.
    """
    import ray

    if other := [name for name, value in expected.items() if mine.get(name) != value]:
        where = ray.util.get_node_ip_address()
        raise UsageError(
            f"the worker on {where} has another {', '.join(other)} than the first: all machines need the same "
            "versions, the same kind of device, and the same files under the same paths"
        )
