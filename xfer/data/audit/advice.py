"""Suggestions from what was found in a data set."""

from __future__ import annotations

from collections.abc import Iterator

from xfer.data.audit.duplicates import Duplicates
from xfer.data.audit.result import Inspection, SplitInspection

IMBALANCED = 3.0  # a ratio from which on it is worth a word
_NAMED = 5


def advice(found: Inspection) -> Iterator[str]:
    """One line for each thing to do, the gravest first."""
    yield from (_leak(each) for each in found.duplicates if each.first != each.second)
    if n := found.conflicts.images:
        yield f"{_pictures(n)} with more than one label: decide which is right"
    yield from (_copies(each) for each in found.duplicates if each.first == each.second)
    if n := sum(len(split.unreadable) for split in found.splits.values()):
        what = f"{n:,} {'file' if n == 1 else 'files'} cannot be read"
        yield f"{what}: repair or remove {_them(n)} (training leaves {_them(n)} out)"
    for name, split in found.splits.items():
        yield from _missing(name, split)
    yield from _imbalance(found.splits["train"])


def _leak(found: Duplicates) -> str:
    n = found.images
    what = f"{_pictures(n)} of {found.second} {'is' if n == 1 else 'are'} in {found.first} too"
    return f"{what}: remove {_them(n)} from {found.second}"


def _copies(found: Duplicates) -> str:
    n = found.images
    what = "image of {} repeats" if n == 1 else "images of {} repeat"
    return f"{n:,} {what.format(found.first)} another one there: remove {_them(n)}"


def _missing(name: str, split: SplitInspection) -> Iterator[str]:
    empty = [label for label, count in split.counts.items() if not count]
    if empty and split.listed:
        more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
        yield f"{name} has no readable image of {', '.join(empty[:_NAMED])}{more}: add some"


def _imbalance(train: SplitInspection) -> Iterator[str]:
    if train.imbalance is None or train.imbalance < IMBALANCED:
        return
    there = {label: count for label, count in train.counts.items() if count}
    most, least = max(there, key=lambda x: there[x]), min(there, key=lambda x: there[x])
    sizes = f"{most} {there[most]:,}, {least} {there[least]:,}"
    yield f"train is imbalanced {train.imbalance:.3g}:1 ({sizes}): try --sampling balanced"


def _pictures(n: int) -> str:
    return f"{n:,} {'picture' if n == 1 else 'pictures'}"


def _them(n: int) -> str:
    return "it" if n == 1 else "them"
