"""The loader of the split that is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from xfer.data import Budget, Data, Loader, OnBad, Split
from xfer.data.chain import Chain
from xfer.data.sources.targets import check, with_targets
from xfer.data.texts import Texts
from xfer.data.transforms.test_time import TestTimeView
from xfer.errors import DataError, UsageError
from xfer.features.cache import FeatureCache
from xfer.models.base_model import BaseModel


def one_split(data: Data, split: str | None) -> Data:
    """The data with one split to evaluate on.

    Args:
        data: with any splits.
        split: "train", "val" or "test"; "all" of them together; None for the first of val, test and train.

    Raises:
        UsageError: there is no such split.
    """
    there = data.splits
    if split is None:
        split = next(name for name in ("val", "test", "train") if name in there)
    if split != "all" and split not in there:
        raise UsageError(f"{data.source} has no split {split!r}: give {', '.join(there)} or all")
    judged = together(list(there.values())) if split == "all" else there[split]
    return replace(data, train=judged, val=None, test=None)


def together(splits: Sequence[Split]) -> Split:
    """Splits of the same data one after the other."""
    if len(splits) == 1:
        return splits[0]
    first = splits[0]
    return replace(
        first,
        images=Chain([split.images for split in splits]),
        labels=np.concatenate([split.labels for split in splits]),
        names=Texts.joined(*(split.names for split in splits)),
        columns=None if first.columns is None else np.concatenate([s.columns for s in splits if s.columns is not None]),
        targets=None if first.targets is None else np.concatenate([s.targets for s in splits if s.targets is not None]),
    )


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
    labelled, preprocessing = relabelled(model, data, data.judged), model.spec.preprocessing
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
