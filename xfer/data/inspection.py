"""What is in a data set, before anything is trained on it."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from xfer.data.advice import advice
from xfer.data.dataset import Split
from xfer.data.decode import BadImageError, decode
from xfer.data.duplicates import Conflicts, Duplicates, Place, conflicts, duplicates, same_pictures
from xfer.data.loader import Skipped, threads
from xfer.data.sources import load
from xfer.errors import UsageError

_AT_ONCE = 1024


@dataclass(frozen=True)
class Range:
    """Smallest, median and largest of some pixel counts."""

    min: int
    median: float
    max: int


@dataclass(frozen=True)
class SplitInspection:
    """One split. `listed` is `readable` and `unreadable` together; `counts` and `unlabelled` add up to `readable`.

    Args:
        listed: images that the split names.
        readable: those whose pixels can be had.
        counts: readable images of each class.
        unlabelled: readable images without a label.
        imbalance: the largest class over the smallest, of those that have images; None without any.
        width: of the upright images; None if none can be read.
        height: likewise.
        formats: readable images by file format, such as "JPEG"; "pixels" if they are no file.
        modes: readable images by Pillow's mode, such as "RGB" or "CMYK", as stored.
        unreadable: the others, each with the reason.
    """

    listed: int
    readable: int
    counts: dict[str, int]
    unlabelled: int
    imbalance: float | None
    width: Range | None
    height: Range | None
    formats: dict[str, int]
    modes: dict[str, int]
    unreadable: tuple[Skipped, ...]


@dataclass(frozen=True)
class Inspection:
    """What `inspect` finds.

    Args:
        source: where the data came from.
        classes: class names.
        splits: by "train", "val" and "test", as far as there are any.
        duplicates: equal pictures inside splits and across them.
        conflicts: equal pictures with different labels.
        notes: what was done or left out while listing.
        suggestions: what to do about it, a line each.
    """

    source: str
    classes: tuple[str, ...]
    splits: dict[str, SplitInspection]
    duplicates: tuple[Duplicates, ...]
    conflicts: Conflicts
    notes: tuple[str, ...]
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Seen:
    """An image that could be read."""

    digest: bytes
    width: int
    height: int
    format: str
    mode: str


def inspect(data: Any, *, val: float = 0.2, seed: int = 0, pairs: int = 20, workers: int | None = None) -> Inspection:
    """Read every image once and say what is there: classes, sizes, formats, duplicates, leaks, damage.

    Two pictures are the same if `decode` gives the same pixels, whatever the file's format, name or metadata. What
    can be read here can be trained on, but for images so long and thin that the model's input size decides.

    Args:
        data: a `Data`, or whatever `load` takes.
        val: share of train to hold out for validation where no split is given, as in training.
        seed: of the hold-out.
        pairs: how many pairs of duplicates to name for each two splits; all are counted.
        workers: threads; None for one a core, at most 8.

    Raises:
        DataError: what `load` refuses. UsageError: a number below 0.
    """
    if pairs < 0:
        raise UsageError(f"pairs={pairs}: give 0 or more")
    source = load(data, val=val, seed=seed)
    seen = {name: _look_at_all(split, threads(workers)) for name, split in source.splits.items()}
    groups = same_pictures(
        (look.digest, _place(name, source.splits[name], index))
        for name, looks in seen.items()
        for index, look in enumerate(looks)
        if isinstance(look, _Seen)
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


def _look_at_all(split: Split, workers: int) -> list[_Seen | str]:
    indices = range(len(split))
    if not workers:
        return [_look(split, index) for index in indices]
    with ThreadPoolExecutor(workers, "xfer-inspect") as pool:
        # A pool makes one object for each waiting image at once: a part at a time keeps millions of them away.
        parts = (indices[start : start + _AT_ONCE] for start in range(0, len(split), _AT_ONCE))
        return [look for part in parts for look in pool.map(partial(_look, split), part)]


def _look(split: Split, index: int) -> _Seen | str:
    """What is seen of an image, or the reason why nothing is."""
    try:
        source = split.images[index]
        image = decode(source)
        form, mode = _form(source)
    except BadImageError as bad:
        return bad.reason
    digest = hashlib.sha256(f"{image.width} {image.height} ".encode() + image.tobytes()).digest()
    return _Seen(digest, image.width, image.height, form, mode)


def _form(source: Any) -> tuple[str, str]:
    """Format and mode as stored, of an image that `decode` could read."""
    if isinstance(source, np.ndarray):
        source = Image.fromarray(np.ascontiguousarray(source[..., 0] if source.shape[-1:] == (1,) else source))
    if isinstance(source, Image.Image):
        return source.format or "pixels", source.mode
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        return image.format or "unknown", image.mode


def _place(name: str, split: Split, index: int) -> Place:
    label = int(split.labels[index])
    return Place(name, split.names[index], split.classes[label] if label >= 0 else None)


def _summary(split: Split, looks: Sequence[_Seen | str]) -> SplitInspection:
    good = [index for index, look in enumerate(looks) if isinstance(look, _Seen)]
    seen = [look for look in looks if isinstance(look, _Seen)]
    counts = split.subset(good).counts()
    there = [count for count in counts.values() if count]
    return SplitInspection(
        listed=len(split),
        readable=len(seen),
        counts=counts,
        unlabelled=len(seen) - sum(there),
        imbalance=max(there) / min(there) if there else None,
        width=_range([look.width for look in seen]),
        height=_range([look.height for look in seen]),
        formats=_tally(look.format for look in seen),
        modes=_tally(look.mode for look in seen),
        unreadable=tuple(Skipped(split.names[i], look) for i, look in enumerate(looks) if isinstance(look, str)),
    )


def _range(values: Sequence[int]) -> Range | None:
    return Range(min(values), float(np.median(values)), max(values)) if values else None


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())
