"""Corrected labels: which images have another class than the data says, and which are left out.

They are applied after the data is split, so that the same images are held out with and without them.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xfer.data.dataset import Correction, Data, Split
from xfer.errors import DataError
from xfer.runtime.paths import expanded
from xfer.specs.tasks import spans

Corrections = str | os.PathLike[str] | Mapping[str, str | None] | Sequence[Correction] | None
ACTIONS = ("keep", "relabel", "exclude")
_DELIMITERS = ",;\t"


class _Row(NamedTuple):
    """A correction, whether it says that nothing changes, and where it stands, in words."""

    correction: Correction
    keep: bool
    where: str


def corrected(data: Data, given: Corrections, known: Data | None = None) -> Data:
    """The data with other labels, and without the images that are excluded; nothing on disk is moved.

    A file of corrections is UTF-8 CSV with the columns `image` (the name of an image, as `xfer inspect` prints it) and
    `label` (a class of the data; empty to exclude the image). Optional columns: `action` ("relabel", "exclude", or
    "keep", which changes nothing) and `split`, which is needed where several splits have images of one name that are
    not one file. Other columns are not read.

    Args:
        data: of one task, or of several of which one at most is single-label; its classes stay as they are.
        given: a path of such a file; a mapping from names to labels, None to exclude; `Correction`s; or None.
        known: data whose images may be named, of which `data` is a part.

    Raises:
        DataError: the file is damaged; an image or a class is not in the data; the same image is corrected in two ways;
            or a class or a split would be left without an image.
    """
    if given is None:
        return data
    what, rows = _read(given)
    _check_known(rows, known or data)
    asked = _assigned(rows, data)
    changes = {name: _changes(split, asked[name], data) for name, split in data.splits.items()}
    done = tuple(correction for _, _, each in changes.values() for correction in each)
    if not done:
        return data
    splits = {name: _changed(split, data, *changes[name][:2]) for name, split in data.splits.items()}
    _check_left(data, splits, what)
    out = sum(correction.label is None for correction in done)
    note = f"corrections: labels changed {len(done) - out}, images excluded {out}"
    tasks = data.tasks
    if out and (targets := splits["train"].targets) is not None:
        tasks = tuple(task.standardised(targets[:, span]) for task, _, span in spans(tasks))
    found = (*data.corrections, *done)
    return replace(data, **splits, notes=(*data.notes, note), tasks=tasks, corrections=found)  # type: ignore[arg-type]


def _read(given: Corrections) -> tuple[str, list[_Row]]:
    """Where corrections are from, in words, and what they are."""
    if isinstance(given, str | os.PathLike):
        path = expanded(Path(given))
        return str(path), list(_lines(path))
    pairs = given.items() if isinstance(given, Mapping) else given or ()
    made = [Correction(*each) for each in pairs]
    return "corrections", [_Row(each, False, f"the correction of {each.image!r}") for each in made]


def _lines(path: Path) -> Iterator[_Row]:
    """The rows of a file.

    Raises:
        DataError: it cannot be read, or is not such a file, by line.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path} is no file of corrections: give a CSV file with the columns image and label")
        # Names of files may be no UTF-8, and Excel begins a file with a byte order mark.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            first = text.readline()
            text.seek(0)
            delimiter = next((mark for mark in _DELIMITERS if mark in first), ",")
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            yield from _parsed(path, reader)
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num}: not valid CSV: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read the corrections {path}: {error.strerror}") from None


def _parsed(path: Path, reader: Iterator[list[str]]) -> Iterator[_Row]:
    columns = next((fields for fields in reader if fields), [])
    for name in ("image", "label"):
        if columns.count(name) != 1:
            there = ", ".join(map(repr, columns)) or "none"
            raise DataError(f"{path} needs one column {name!r}; its columns are {there}")
    for fields in reader:
        where = f"{path} line {reader.line_num}"  # type: ignore[attr-defined]
        if not fields:
            continue
        if len(fields) != len(columns):
            raise DataError(f"{where}: {len(fields)} fields, but the header names {len(columns)} columns")
        cells = dict(zip(columns, fields, strict=True))
        action = cells.get("action", "").strip().lower() or ("relabel" if cells["label"] else "exclude")
        if action not in ACTIONS:
            raise DataError(f"{where}: action {cells['action']!r}: give {', '.join(ACTIONS)}, or nothing")
        if action == "relabel" and not cells["label"]:
            raise DataError(f"{where}: no label is given: give one, or the action exclude")
        label = None if action == "exclude" or not cells["label"] else cells["label"]
        yield _Row(Correction(cells["image"], label, cells.get("split", "").strip()), action == "keep", where)


def _check_known(rows: Sequence[_Row], data: Data) -> None:
    lacking = {row.correction.image for row in rows}
    for split in data.splits.values():
        lacking.difference_update(split.names)
    strange = [row for row in rows if row.correction.image in lacking]
    if strange:
        more = f", nor are {len(lacking) - 1} others" if len(lacking) > 1 else ""
        some = next((split.names[0] for split in data.splits.values() if len(split)), "")
        raise DataError(
            f"{strange[0].where}: {strange[0].correction.image!r} is no image of {data.source}{more}: "
            f"give names such as {some!r}"
        )


def _assigned(rows: Sequence[_Row], data: Data) -> dict[str, dict[int, _Row]]:
    """The rows by split and index of the image.

    Raises:
        DataError: it is not clear which image is meant, or what it is to become.
    """
    wanted, found = {row.correction.image for row in rows}, dict[str, dict[str, list[int]]]()
    for name, split in data.splits.items():
        for index, image in enumerate(split.names):
            if image in wanted:
                found.setdefault(image, defaultdict(list))[name].append(index)
    assigned: dict[str, dict[int, _Row]] = {name: {} for name in data.splits}
    for row in rows:
        places = found.get(row.correction.image, {})
        if len(places) > 1 and not _one_file(data, places):
            if row.correction.split not in places:
                raise DataError(
                    f"{row.where}: {row.correction.image!r} is in {' and in '.join(places)}: "
                    "say which in a column split"
                )
            places = {row.correction.split: places[row.correction.split]}
        else:  # what is recorded, and compared when a run is resumed, says no more than is needed
            row = row._replace(correction=row.correction._replace(split=""))
        for name, indices in places.items():
            for index in indices:
                before = assigned[name].setdefault(index, row)
                if (before.correction.label, before.keep) != (row.correction.label, row.keep):
                    raise DataError(
                        f"{row.where}: {row.correction.image!r} has two corrections, the other in {before.where}: "
                        "leave one"
                    )
    return assigned


def _one_file(data: Data, places: Mapping[str, Sequence[int]]) -> bool:
    """Whether images of one name in several splits are one file."""
    images = [data.splits[name].images[index] for name, indices in places.items() for index in indices]
    return all(isinstance(image, Path) for image in images) and len(set(images)) == 1


def _changes(split: Split, rows: Mapping[int, _Row], data: Data) -> tuple[np.ndarray, np.ndarray, list[Correction]]:
    """Labels int64 (N,), which images stay, bool (N,), and the corrections that change something."""
    labels, stay, done = split.labels.copy(), np.ones(len(split), bool), []
    numbers = {name: number for number, name in enumerate(data.classes)}
    for index, (correction, keep, where) in sorted(rows.items()):
        name = correction.label
        if name is not None and name not in numbers:
            raise DataError(f"{where}: {name!r} is no class of {data.source} ({', '.join(data.classes[:5])}, ...)")
        if keep:
            given = data.classes[labels[index]] if labels[index] >= 0 else None
            if name not in (None, given):
                raise DataError(f"{where}: the action is keep, and the label {name!r} is another: give relabel")
        elif name is None:
            stay[index] = False
            done.append(correction)
        elif labels[index] != numbers[name]:
            _check_task(data, split, where)
            labels[index] = numbers[name]
            done.append(correction)
    return labels, stay, done


def _check_task(data: Data, split: Split, where: str) -> None:
    """Refuse another class where it is not clear of which task."""
    single = [task.name for task in data.tasks if task.kind == "single-label"]
    if data.tasks and len(single) != 1:
        raise DataError(f"{where}: {data.source} has {len(single)} single-label tasks: correct its table instead")
    if not data.tasks and split.targets is not None:
        raise DataError(f"{where}: the images of {data.source} are mixed: correct it before")


def _changed(split: Split, data: Data, labels: np.ndarray, stay: np.ndarray) -> Split:
    targets = split.targets
    if targets is not None and not np.array_equal(labels, split.labels):
        targets, changed = targets.copy(), labels != split.labels
        span = next(span for task, _, span in spans(data.tasks) if task.kind == "single-label")
        targets[changed, span.start] = labels[changed]
    found = replace(split, labels=labels, targets=targets)
    return found if stay.all() else found.subset(np.flatnonzero(stay))


def _check_left(data: Data, splits: Mapping[str, Split], what: str) -> None:
    """Refuse corrections that leave a split without an image, or train without one of a class that it had."""
    for name, split in splits.items():
        if not len(split):
            raise DataError(f"{what} leave no image in {name}: keep some")
    after = splits["train"].counts()
    for name, count in data.train.counts().items():
        if count and not after[name]:
            raise DataError(f"{what} leave no image of class {name!r} in train: keep one, or remove the class")
