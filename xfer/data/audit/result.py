"""What an inspection of a data set finds."""

from __future__ import annotations

from dataclasses import dataclass

from xfer.data.audit.duplicates import Conflicts, Duplicates
from xfer.data.batch import Skipped
from xfer.runtime import html
from xfer.runtime.text import count_of, one_line, path_text

_SUGGESTED = 2  # in a `repr`


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
        sizes: width and height in pixels of upright images, and how many have them, the most frequent first.
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
    sizes: tuple[tuple[int, int, int], ...] = ()

    def __repr__(self) -> str:
        sizes = f", {self.width.min} to {self.width.max} px wide" if self.width else ""
        classes = count_of(len(self.counts), "class", "classes")
        return f"SplitInspection({self.readable:,} of {self.listed:,} images can be read, {classes}{sizes})"


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

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {split.readable:,} of {split.listed:,}" for name, split in self.splits.items())
        found = count_of(len(self.suggestions), "suggestion")
        lines = [f"Inspection of {path_text(self.source)}: images that can be read: {sizes}; {found}"]
        return "\n".join([*lines, *(f"  {one_line(line, 100)}" for line in self.suggestions[:_SUGGESTED])])

    def _repr_html_(self) -> str:
        """What there is and what to do about it, as a notebook shows it."""
        rows: dict[str, list[object]] = {
            "listed": [split.listed for split in self.splits.values()],
            "readable": [split.readable for split in self.splits.values()],
            "unreadable": [len(split.unreadable) for split in self.splits.values()],
            "width, px": [_range_text(split.width) for split in self.splits.values()],
            "height, px": [_range_text(split.height) for split in self.splits.values()],
        }
        return html.view(
            html.title(f"{self.source}: {count_of(len(self.suggestions), 'suggestion')}"),
            *(html.note(line) for line in self.suggestions[:10]),
            html.table(("images", *self.splits), [[name, *cells] for name, cells in rows.items()]),
        )


def _range_text(found: Range | None) -> str:
    return "-" if found is None else f"{found.min} to {found.max}"
