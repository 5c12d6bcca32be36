"""Inspecting a data set before training."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from xfer.data.audit.advice import advice
from xfer.data.audit.duplicates import Place, conflicts, duplicates, repeated, same_pictures
from xfer.data.audit.result import Inspection, Range, SplitInspection
from xfer.data.batch import Skipped
from xfer.data.dataset import Split
from xfer.data.images.decode import BadImageError, Source
from xfer.data.images.isolation import isolated
from xfer.data.images.probe import ImageInfo, look
from xfer.data.sources.load import load
from xfer.data.workers import threads
from xfer.errors import UsageError
from xfer.runtime.progress import each

_AT_ONCE = 1024
Look = Callable[[Source], ImageInfo | str]


def inspect(
    data: Any,
    *,
    val: float = 0.2,
    seed: int = 0,
    pairs: int = 20,
    workers: int | None = None,
    isolate: bool = False,
) -> Inspection:
    """Read every image once and say what is there: classes, sizes, formats, duplicates, leaks, damage.

    Two pictures are the same if `decode` gives the same pixels, whatever the file's format, name or metadata. What
    can be read here can be trained on, but for images so long and thin that the model's input size decides.

    Args:
        data: a `Data`, or whatever `load` takes.
        val: share of train to hold out for validation where no split is given, as in training.
        seed: of the hold-out.
        pairs: how many pairs of duplicates to name for each two splits; all are counted.
        workers: threads; None for one a core, at most 8.
        isolate: read files in other processes, one for each thread. The same is found, and a file that ends its
            decoder, or takes longer than 10 s or more than 6 GiB of memory, is listed as unreadable with that reason.

    Raises:
        DataError: what `load` refuses. UsageError: a number below 0.
    """
    if pairs < 0:
        raise UsageError(f"pairs={pairs}: give 0 or more")
    source = load(data, val=val, seed=seed)
    count = threads(workers)
    with isolated(count) if isolate else nullcontext(look) as how, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # they do not say of which file they speak
        seen = {name: _look_at_all(name, split, how, count) for name, split in source.splits.items()}
    several = repeated(each.digest for looks in seen.values() for each in looks if isinstance(each, ImageInfo))
    groups = same_pictures(
        (each.digest, _place(name, source.splits[name], index))
        for name, looks in seen.items()
        for index, each in enumerate(looks)
        if isinstance(each, ImageInfo) and each.digest in several
    )
    found = Inspection(
        source=source.source,
        classes=source.classes,
        splits={name: _summary(split, seen[name]) for name, split in source.splits.items()},
        duplicates=duplicates(groups, list(source.splits), pairs),
        conflicts=conflicts(groups, pairs),
        notes=source.notes,
    )
    return replace(found, suggestions=tuple(advice(found)))


def _look_at_all(name: str, split: Split, how: Look, workers: int) -> list[ImageInfo | str]:
    indices, doing = range(len(split)), f"inspecting {name}"
    if not workers:
        return list(each((_look(split, how, index) for index in indices), doing, len(split)))
    with ThreadPoolExecutor(workers, "xfer-inspect") as pool:
        # A pool makes one object for each waiting image at once: a part at a time keeps millions of them away.
        parts = (indices[start : start + _AT_ONCE] for start in range(0, len(split), _AT_ONCE))
        looks = (found for part in parts for found in pool.map(partial(_look, split, how), part))
        return list(each(looks, doing, len(split)))


def _look(split: Split, how: Look, index: int) -> ImageInfo | str:
    try:
        source = split.images[index]
    except BadImageError as bad:
        return bad.reason
    return how(source)


def _place(name: str, split: Split, index: int) -> Place:
    label = int(split.labels[index])
    return Place(name, split.names[index], split.classes[label] if label >= 0 else None)


def _summary(split: Split, looks: Sequence[ImageInfo | str]) -> SplitInspection:
    good = [index for index, each in enumerate(looks) if isinstance(each, ImageInfo)]
    seen = [each for each in looks if isinstance(each, ImageInfo)]
    counts = split.subset(good).counts()
    there = [count for count in counts.values() if count]
    return SplitInspection(
        listed=len(split),
        readable=len(seen),
        counts=counts,
        unlabelled=len(seen) - sum(there),
        imbalance=max(there) / min(there) if there else None,
        width=_range([each.width for each in seen]),
        height=_range([each.height for each in seen]),
        formats=_tally(each.format for each in seen),
        modes=_tally(each.mode for each in seen),
        sizes=tuple((*size, n) for size, n in Counter((each.width, each.height) for each in seen).most_common()),
        unreadable=tuple(Skipped(split.names[i], each) for i, each in enumerate(looks) if isinstance(each, str)),
    )


def _range(values: Sequence[int]) -> Range | None:
    return Range(min(values), float(np.median(values)), max(values)) if values else None


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())
