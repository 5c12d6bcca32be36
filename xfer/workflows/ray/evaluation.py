"""Logits of the images that a model is evaluated on, computed in the processes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from xfer.data import Loader, OnBad, Skipped, Split
from xfer.data.transforms.augment import Augment
from xfer.data.transforms.test_time import TestTimeView
from xfer.errors import DataError, UsageError
from xfer.evaluation.evaluate import evaluate
from xfer.models.base_model import BaseModel
from xfer.models.predictor import Predictor, window
from xfer.runtime.progress import work
from xfer.workflows.opening import Opening
from xfer.workflows.prediction.identity import model_identity
from xfer.workflows.ray.cluster import connected, share
from xfer.workflows.ray.pool import Pool
from xfer.workflows.ray.prediction import check_same, first_of


def evaluate_on_ray(opening: Opening, model: Predictor, data: Any, processes: int, **options: Any) -> Any:
    """The evaluation of a model whose logits are computed in processes that Ray starts.

    The cluster is the one that `RAY_ADDRESS` names, else one that begins and ends with the call. Every machine needs
    the images and the run under the same paths.

    Args:
        opening: of the model.
        model: the same, in this process.
        data: see `xfer.evaluation.evaluate.evaluate`.
        processes: how many.
        options: of it; cached outputs of blocks are not read.

    Raises:
        UsageError: no Ray, no processes, or an ensemble; and as `evaluate`.
    """
    if not isinstance(model, BaseModel):
        raise UsageError(f"{opening.run} is an ensemble, and launcher ray evaluates one model: give one of its members")
    with connected(processes):
        identity = str(model_identity(model)["model"])
        collect = OnRay(opening.elsewhere(), identity, processes, share(processes, opening.device))
        return evaluate(model, data, cache=False, collect=collect, **options)


class OnRay:
    """What `xfer.evaluation.evaluate.evaluate` takes as `collect`: each worker has whole batches, in any order.

    So the logits are those of one process, if the machines are of one kind.

    Args:
        open_model: makes the model in a worker.
        identity: of the model that is evaluated, see `model_identity`; on which device it is does not matter.
        processes: how many workers.
        resources: of each, see `xfer.workflows.ray.cluster.share`.
    """

    def __init__(
        self, open_model: Callable[[], Predictor], identity: str, processes: int, resources: dict[str, float]
    ) -> None:
        self._pool, self._identity = Pool(partial(_Worker, open_model), processes, resources), identity

    def __call__(self, loader: Loader, doing: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The logits, labels and indices of what can be read of a loader.

        Raises:
            DataError: nothing can be read; with `on_bad="raise"`, an image that cannot.
        """
        split, first = loader.split, first_of(loader.split)
        size = window(len(split.classes), loader.batch_size)
        parts = [np.arange(start, min(start + size, len(split))) for start in range(0, len(split), size)]
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        skipped: list[Skipped] = []

        def tasks() -> Iterator[tuple[Any, ...]]:
            for part in parts:
                mine = split.subset(part).detached()
                yield first, self._identity, mine, loader.batch_size, loader.on_bad, loader.augment

        with work(doing, len(split)) as report:
            for number, (logits, indices, bad) in self._pool.map("logits", tasks()):
                if logits is not None:
                    found[number] = logits, parts[number][indices]
                skipped += bad
                report.advance(len(parts[number]))
        loader.know(skipped)
        if not found:
            raise DataError(f"none of the {len(split)} images can be read; the first, {_first_reason(loader)}")
        z, places = (np.concatenate(each) for each in zip(*(found[number] for number in sorted(found)), strict=True))
        labels = split.labels[places] if split.targets is None else split.targets[places]
        return z, labels, places


class _Worker:
    """A model, and what it is asked for."""

    def __init__(self, open_model: Callable[[], Predictor]) -> None:
        model = open_model()
        assert isinstance(model, BaseModel)
        self._model = model
        self._digest = str(model_identity(self._model)["model"])

    def logits(
        self,
        first: Split,
        identity: str,
        split: Split,
        batch_size: int,
        on_bad: OnBad,
        augment: Augment | TestTimeView,
    ) -> tuple[np.ndarray | None, np.ndarray, list[Skipped]]:
        check_same({"model": self._digest}, {"model": identity})
        model = self._model
        model.resolve_precision_on(first)
        loader = Loader(
            split,
            model.spec.preprocessing,
            batch_size=batch_size,
            workers=None,
            on_bad=on_bad,
            columns=model.columns,
            augment=augment,
        )
        found = [(model.logits(batch.inputs), batch.indices) for batch in loader.epoch(0, allow_nothing=True)]
        if not found:
            return None, np.zeros(0, np.int64), loader.skipped
        logits, indices = (np.concatenate(each) for each in zip(*found, strict=True))
        return logits, indices, loader.skipped


def _first_reason(loader: Loader) -> str:
    first = loader.skipped[0]
    return f"{first.name}: {first.reason}"
