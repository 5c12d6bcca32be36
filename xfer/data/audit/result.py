"""What an inspection of a data set finds."""

from __future__ import annotations

from dataclasses import dataclass

from xfer.data.audit.duplicates import Conflicts, Duplicates
from xfer.data.batch import Skipped


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
