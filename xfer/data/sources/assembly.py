"""From parts with labels of any kind to `Data`: class order, label numbers, a validation split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from unicodedata import normalize

import numpy as np

from xfer.data.categorical import Categorical
from xfer.data.dataset import UNLABELLED, Data, Images, Split
from xfer.data.texts import Texts, firsts
from xfer.errors import DataError, UsageError

Label = str | int

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Part:
    """One split before its labels are numbers; None is no label. Of `files`, the same name is the same image."""

    images: Images
    labels: Sequence[Label | None]
    names: Sequence[str]
    columns: np.ndarray | None = None
    files: bool = False


def assemble(
    parts: Mapping[str, Part],
    *,
    source: str,
    classes: Sequence[str] | None = None,
    val: float = 0.2,
    seed: int = 0,
    notes: Sequence[str] = (),
    column_names: Sequence[str] = (),
) -> Data:
    """The task that `parts` describe.

    Without classes, they are the distinct labels of `train` in sorted order. Without a `val` part, a stratified share
    of `train` takes its place; `test` is for the final figures alone.

    Args:
        parts: by "train", "val" and "test"; train is a must.
        source: where the parts came from.
        classes: names that integer labels index, and that string labels are among.
        val: share of train to hold out, in [0, 1); 0 holds out nothing.
        seed: of the hold-out.
        notes: remarks to pass on.
        column_names: of the parts' columns.

    Raises:
        DataError: no images, fewer than two classes, a label outside the classes, too few images to hold out.
        UsageError: `val` is not a share.
    """
    if not 0.0 <= val < 1.0:
        raise UsageError(f"val={val} is not in [0, 1): give the share to hold out, such as 0.2")
    if not len(parts["train"].labels):
        raise DataError(f"{source} has no training images")
    labels = {key: Categorical[Label].of(part.labels) for key, part in parts.items()}
    given = labels["train"].there()
    if not given:
        raise DataError(f"{source} has no label in train: give at least one of each class")
    numbers, names = _class_order(given, classes, source)
    splits = {key: _split(key, part, labels[key], numbers, names) for key, part in parts.items()}
    splits = {key: replace(split, column_names=tuple(column_names)) for key, split in splits.items()}
    remarks = list(notes)
    for key, split in splits.items():
        if missing := int((~split.labelled).sum()):
            remarks.append(f"{missing} of {len(split)} images in {key} have no label: they count in no loss or metric")
    remarks += shared_files(parts)
    whole = Data(splits["train"], splits.get("val"), splits.get("test"), names, source, tuple(remarks))
    if whole.val is not None or val == 0.0:
        return whole
    return _hold_out(whole, val, seed, parts["train"].names if parts["train"].files else None)


def _class_order(
    labels: Sequence[Label], classes: Sequence[str] | None, source: str
) -> tuple[dict[Label, int], tuple[str, ...]]:
    if classes is not None:
        order: list[Label] = list(classes)
        numbers: dict[Label, int] = {i: i for i in range(len(order))}
    else:
        distinct = set(labels)
        if len({type(label) for label in distinct}) > 1:
            raise DataError(f"{source} mixes numbers and strings as labels: give one kind")
        order, numbers = sorted(distinct), {}
    names = tuple(map(str, order))
    if len(names) < 2:
        raise DataError(f"{source} has one class, {names[0]!r}: classification needs two or more")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"class {twice!r} of {source} is named twice: class names must differ")
    composed = [_composed(name) for name in names]
    if len(set(composed)) < len(names):
        alike = next(name for name in composed if composed.count(name) > 1)
        raise DataError(f"{source} has class {alike!r} in two forms of Unicode that look alike (NFC, NFD): rename one")
    return numbers | {label: i for i, label in enumerate(order)}, names


def _composed(name: Label | None) -> str:
    return normalize("NFC", str(name))


def _split(
    key: str, part: Part, labels: Categorical[Label], numbers: Mapping[Label, int], classes: tuple[str, ...]
) -> Split:
    unknown = np.flatnonzero(labels.is_one_of([label for label in labels.values if label not in numbers]))
    if len(unknown):
        strange = int(unknown[0])
        if _composed(part.labels[strange]) in map(_composed, classes):
            raise DataError(
                f"label {part.labels[strange]!r} of {part.names[strange]!r} in {key} is a class of train in another "
                "form of Unicode that looks alike (NFC, NFD): rename it as in train"
            )
        raise DataError(
            f"label {part.labels[strange]!r} of {part.names[strange]!r} in {key} is not among the "
            f"{len(classes)} classes of train ({', '.join(classes[:5])}, ...): add it to train, or remove it"
        )
    found = labels.numbers(lambda label: numbers.get(label, UNLABELLED), UNLABELLED)
    return Split(part.images, found, part.names, classes, columns=part.columns)


def shared_files(parts: Mapping[str, Part]) -> list[str]:
    """Remarks on files that are in two splits."""
    remarks = []
    for first, second in combinations([key for key, part in parts.items() if part.files], 2):
        if both := _common(parts[first].names, parts[second].names):
            remarks.append(f"{both} files are both in {first} and in {second}")
    return remarks


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many different texts are in both."""
    found = firsts(Texts.joined(a, b))[len(a) :]
    return len(np.unique(found[found < len(a)]))


def _hold_out(data: Data, share: float, seed: int, names: Sequence[str] | None) -> Data:
    kept, held = hold_out(data.train.labels, share, seed, names)
    note = f"validation is a stratified {share:.0%} of train (seed {seed})"
    if data.test is not None:
        note += "; test is for the final figures"
    train, val = data.train.subset(kept), data.train.subset(held)
    return replace(data, train=train, val=val, notes=(*data.notes, note))


def hold_out(
    labels: np.ndarray, share: float, seed: int, names: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices of what is kept and of a stratified share held out, with a sample of every class at least.

    A class with a single sample stays in what is kept, for it cannot be in both, and so do samples without a label.
    Samples of one name, if names are given, stay together.

    Raises:
        DataError: too few samples for one of each class on both sides.
    """
    from sklearn.model_selection import train_test_split

    first = None if names is None else firsts(names)
    if first is not None and (first < np.arange(len(first))).any():
        return _hold_out_together(labels, share, seed, first)
    labelled = labels[labels >= 0]
    counts = np.bincount(labelled, minlength=1)
    divisible = np.flatnonzero((labels >= 0) & (counts[labels] > 1))
    classes = len(np.unique(labels[divisible]))
    size = max(round(share * len(divisible)), classes)
    if not classes or len(divisible) - size < classes:
        raise DataError(
            f"{len(labels)} images of {len(np.unique(labelled))} classes are too few to hold out {share:.0%} "
            "for validation: give more images, a validation split, or val=0"
        )
    kept, held = train_test_split(divisible, test_size=size, stratify=labels[divisible], random_state=seed)
    lacking = np.setdiff1d(labels[kept], labels[held])  # a share of few samples was rounded to none
    held = np.concatenate([held, *(kept[labels[kept] == label][:1] for label in lacking)])
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(held)


def _hold_out_together(labels: np.ndarray, share: float, seed: int, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All samples of a name go where the first of them goes, whose indices are int64 (N,)."""
    alone = np.unique(first)
    _, held = hold_out(labels[alone], share, seed)
    is_held = np.isin(first, alone[held])
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)
