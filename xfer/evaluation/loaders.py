"""The loader of the split that is evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from xfer.data import Budget, Data, Loader, OnBad, Split
from xfer.data.sources.targets import check, with_targets
from xfer.data.transforms.test_time import TestTimeView
from xfer.errors import DataError
from xfer.features.cache import FeatureCache
from xfer.models.base_model import BaseModel


def evaluation_loader(
    model: BaseModel,
    data: Data,
    *,
    batch_size: int,
    workers: int | None,
    on_bad: OnBad = "report",
    view: TestTimeView | None = None,
    memory: Budget | None = None,
    cache: bool | str | Path | FeatureCache = False,
) -> Loader:
    """A loader of the split to evaluate on, its labels those of the model; images without any are left out.

    Where the cache has all rows of it, they are in the place of images. The processes of a run share it, so all of them
    must evaluate.
    """
    split = next(s for s in (data.val, data.test, data.train) if s is not None)
    labelled, preprocessing = relabelled(model, data, split), model.spec.preprocessing
    known = labelled.subset(np.flatnonzero(labelled.labelled)) if not labelled.labelled.all() else labelled
    if not len(known):
        raise DataError(f"{data.source} has no image with a label to evaluate on")
    if (kept := FeatureCache.of(cache)) is not None and on_bad != "impute":  # a blank image has no row
        known = kept.look_up(model, known, workers=workers)
    return Loader(
        known,
        preprocessing,
        batch_size=batch_size,
        workers=workers,
        on_bad=on_bad,
        columns=model.columns,
        augment=view,
        memory=memory,
        distributed=model.backend.distributed_context(model.spec.device),
    )


def relabelled(model: BaseModel, data: Data, split: Split) -> Split:
    """A split of `data` with the model's class indices for labels.

    Raises:
        DataError: a class that the model does not know.
    """
    if model.spec.tasks or data.tasks:
        check(model.spec.tasks, data)
        return with_targets(split, model.spec.tasks)
    if data.classes == model.classes:
        return split
    unknown = [name for name in data.classes if name not in model.classes]
    if unknown:
        raise DataError(
            f"the data has class {unknown[0]!r}, which the model does not know: it has {_few(model.classes)}"
        )
    places = np.array([model.classes.index(name) for name in data.classes], np.int64)
    labels = np.where(split.labels < 0, split.labels, places[split.labels])
    return replace(split, labels=labels, classes=model.classes)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
