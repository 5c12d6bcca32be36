"""Images that are in a data set more than once: counted exactly, and named up to a limit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement, islice, product

from xfer.runtime.text import count_of, one_line


@dataclass(frozen=True)
class Place:
    """Where a picture is: its split, its name there, and its class, None where that is not known."""

    split: str
    name: str
    label: str | None

    def __repr__(self) -> str:
        label = "" if self.label is None else f" ({one_line(self.label)})"
        return f"{self.split}: {one_line(self.name, 60)}{label}"


@dataclass(frozen=True)
class Pair:
    """Two places that hold the same pixels."""

    first: Place
    second: Place


@dataclass(frozen=True)
class Duplicates:
    """Equal pictures inside a split (`first` is `second`) or across two.

    Args:
        first: the earlier split in the order train, val, test.
        second: the later split, or the same.
        images: how many images of `second` to remove so that none is left: those that are in `first` too, or inside
            one split all but the first of each picture.
        total: number of pairs.
        pairs: the first of them.
    """

    first: str
    second: str
    images: int
    total: int
    pairs: tuple[Pair, ...]

    def __repr__(self) -> str:
        where = f"twice in {self.first}" if self.first == self.second else f"in {self.first} and {self.second}"
        return f"Duplicates({count_of(self.images, 'image')} {where}, {count_of(self.total, 'pair')})"


@dataclass(frozen=True)
class Conflicts:
    """Equal pictures with different labels, in whatever splits.

    Args:
        images: how many different pictures have more than one label.
        total: number of pairs whose labels differ.
        pairs: the first of them.
    """

    images: int
    total: int
    pairs: tuple[Pair, ...]

    def __repr__(self) -> str:
        return f"Conflicts({count_of(self.images, 'picture')} with several labels, {count_of(self.total, 'pair')})"


def repeated(digests: Iterable[bytes]) -> set[bytes]:
    """Those that are there more than once."""
    seen, found = set[bytes](), set[bytes]()
    for digest in digests:
        (found if digest in seen else seen).add(digest)
    return found


def same_pictures(found: Iterable[tuple[bytes, Place]]) -> list[list[Place]]:
    """Groups of two or more places whose first items are equal, in the order of first appearance."""
    groups: dict[bytes, list[Place]] = defaultdict(list)
    for digest, place in found:
        groups[digest].append(place)
    return [group for group in groups.values() if len(group) > 1]


def duplicates(groups: Sequence[Sequence[Place]], splits: Sequence[str], limit: int) -> tuple[Duplicates, ...]:
    """Duplicates inside each split and across each two, where there are any; at most `limit` pairs of each named."""
    parted = [_by(group, "split") for group in groups]
    found = [_between(parted, *names, limit) for names in combinations_with_replacement(splits, 2)]
    return tuple(each for each in found if each.total)


def conflicts(groups: Sequence[Sequence[Place]], limit: int) -> Conflicts:
    """Pictures with more than one label; at most `limit` pairs are named. An unknown label contradicts none."""
    parted = [_by([place for place in group if place.label is not None], "label") for group in groups]
    several = [labels for labels in parted if len(labels) > 1]
    total = sum(len(a) * len(b) for labels in several for a, b in combinations(labels.values(), 2))
    pairs = (pair for labels in several for a, b in combinations(labels.values(), 2) for pair in product(a, b))
    return Conflicts(len(several), total, _first(pairs, limit))


def _between(parted: Sequence[Mapping[str, list[Place]]], first: str, second: str, limit: int) -> Duplicates:
    images = total = 0
    for places in parted:
        here, there = len(places.get(first, ())), len(places.get(second, ()))
        if first == second:
            images += max(here - 1, 0)
            total += here * (here - 1) // 2
        elif here:
            images += there
            total += here * there
    return Duplicates(first, second, images, total, _first(_pairs(parted, first, second), limit))


def _pairs(parted: Iterable[Mapping[str, list[Place]]], first: str, second: str) -> Iterator[tuple[Place, Place]]:
    for places in parted:
        if first == second:
            yield from combinations(places.get(first, ()), 2)
        else:
            yield from product(places.get(first, ()), places.get(second, ()))


def _by(group: Iterable[Place], key: str) -> dict[str, list[Place]]:
    parts: dict[str, list[Place]] = defaultdict(list)
    for place in group:
        parts[getattr(place, key)].append(place)
    return dict(parts)


def _first(pairs: Iterable[tuple[Place, Place]], limit: int) -> tuple[Pair, ...]:
    # A thousand copies of one picture are half a million pairs: no more are made than are named.
    return tuple(Pair(*pair) for pair in islice(pairs, limit))
