"""Data: labelled images in up to three splits, from any source."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np

from xfer.data.sampling import repetitions
from xfer.data.sources.paths import Files, Named
from xfer.data.texts import Texts, taken
from xfer.errors import DataError, UsageError
from xfer.runtime import html
from xfer.runtime.text import classes_text, count_of, listed, one_line, path_text
from xfer.specs.tasks import Task

UNLABELLED = -1
_LISTED = 10
_ROWS = 20  # of a table in a notebook


class Images(Protocol):
    """Pictures by index: a list, an array (N, H, W, C), or anything that reads one when it is asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class Correction(NamedTuple):
    """Another label of an image, or None to exclude it; `split` is only said of a name that several splits have."""

    image: str
    label: str | None
    split: str = ""


@dataclass(frozen=True, eq=False)
class Split:
    """An immutable sequence of images and labels; the images are read when a loader wants them.

    Args:
        images: what `decode` reads, by index: paths, encoded bytes, uint8 arrays or Pillow images.
        labels: int64 (N,), an index into `classes`, or -1 where the label is not known.
        names: one name a sample: its path relative to the root of the data, or its index. They become a
            `xfer.data.texts.Texts`, which is equal to a tuple of them.
        classes: class names in the order of the labels; without them "0", "1", ...
        after: where `images` are no pictures but outputs of this stage of a network, in one array (N, ...); "features"
            are what a head reads.
        columns: what a table says beside each image, objects (N, C), None or NaN where it says nothing.
        column_names: of the columns.
        targets: of several tasks side by side, float64 (N, M), NaN where there is none; `labels` are then those of the
            first single-label task, by which classes are balanced. Of one task, shares of the classes (N, K), as mixing
            makes them.
    """

    images: Images
    labels: np.ndarray
    names: Sequence[str]
    classes: tuple[str, ...] = ()
    after: str | None = None
    columns: np.ndarray | None = None
    column_names: tuple[str, ...] = ()
    targets: np.ndarray | None = None

    def __post_init__(self) -> None:
        labels = np.array(self.labels, np.int64)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1:
            raise DataError(
                f"labels have shape {labels.shape}: give one class an image (argmax of one-hot), or targets"
            )
        labels.flags.writeable = False
        for what, beside in (("columns", self.columns), ("targets", self.targets)):
            if beside is not None and (beside.ndim != 2 or len(beside) != len(labels)):
                raise DataError(f"{what} have shape {beside.shape}: expected one row for each of {len(labels)} images")
        if not len(self.images) == len(labels) == len(self.names):
            raise DataError(
                f"{len(self.images)} images, {len(labels)} labels and {len(self.names)} names: "
                "give one label and one name for each image"
            )
        highest = int(labels.max(initial=UNLABELLED))
        classes = tuple(self.classes) or tuple(str(i) for i in range(highest + 1))
        if highest >= len(classes):
            raise DataError(f"label {highest} has no class name: there are {len(classes)} classes")
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "names", Texts.of(self.names))
        object.__setattr__(self, "classes", classes)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        what = count_of(len(self), "image" if self.after is None else f"output of {self.after!r}")
        counts = [f"{one_line(name)} {count:,}" for name, count in self.counts().items()]
        unlabelled = int((~self.labelled).sum())
        parts = [
            f"{what} of {count_of(len(counts), 'class', 'classes')}: {listed(counts, width=40)}" if counts else what
        ]
        parts += [f"{unlabelled:,} without a label"] if unlabelled else []
        parts += [f"columns {listed(self.column_names)}"] if self.column_names else []
        return f"Split({'; '.join(parts)})"

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.images[index], int(self.labels[index])

    def counts(self) -> dict[str, int]:
        """Number of images of each class, in the order of `classes`."""
        found = np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, found, strict=True)}

    def subset(self, indices: Sequence[int] | np.ndarray) -> Split:
        """The samples at `indices`, in that order; nothing is read or copied."""
        chosen = np.asarray(indices, np.int64)
        names = taken(self.names, chosen)
        return replace(
            self,
            images=self._images_at(chosen, names),
            labels=self.labels[chosen],
            names=names,
            columns=None if self.columns is None else self.columns[chosen],
            targets=None if self.targets is None else self.targets[chosen],
        )

    def detached(self) -> Split:
        """The split for another process on this machine or another: with its own images alone, and absolute paths."""
        return replace(self, images=detached(self.images, np.arange(len(self))))

    def with_columns(self, names: Sequence[str]) -> Split:
        """The split with these of its columns, in that order, if it has them all."""
        if self.columns is None or not set(names) <= set(self.column_names):
            return self
        places = [self.column_names.index(name) for name in names]
        return replace(self, columns=self.columns[:, places], column_names=tuple(names))

    def _images_at(self, indices: np.ndarray, names: Texts) -> Images:
        if self.after is not None and isinstance(self.images, np.ndarray):
            return np.asarray(self.images[indices])
        if isinstance(self.images, Files):  # whose names are those of the samples, most often
            there = self.images.names
            return Files(self.images.root, names if there is self.names else taken(there, indices))
        return _Subset(self.images, indices)

    @property
    def stored(self) -> bool:
        """Whether its images are files, bytes or pixels that are there: reading one again costs little, or nothing."""
        images = self.images
        while isinstance(images, _Subset):
            images = images.images
        return self.after is None and isinstance(images, (list, tuple, np.ndarray, Files, Named))

    @property
    def labelled(self) -> np.ndarray:
        """Which samples have a label, or a target of any task, bool (N,)."""
        return np.asarray(self.labels >= 0) if self.targets is None else ~np.isnan(self.targets).all(axis=1)

    def limit(self, n: int, seed: int = 0) -> Split:
        """At most `n` images drawn in proportion to the classes, and one of each class if `n` allows.

        Raises:
            UsageError: `n` is below 1.
        """
        if n < 1:
            raise UsageError(f"limit {n} leaves no image: give 1 or more")
        if n >= len(self):
            return self
        shuffled = np.random.default_rng(seed).permutation(len(self))
        labels = self.labels[shuffled]
        _, kind, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        first = shuffled[np.argsort(repetitions(labels) / sizes[kind], kind="stable")[:n]]
        return self.subset(np.sort(first))

    def fingerprint(self) -> str:
        """SHA-256 of the names, labels and classes: equal if and only if the split is the same list."""
        digest = hashlib.sha256()
        for text in chain(self.classes, [""], self.names):
            digest.update(text.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(self.labels.astype("<i8").tobytes())
        if self.targets is not None:
            digest.update(self.targets.astype("<f8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Data:
    """A classification task: splits over the same classes.

    Args:
        train: what the model learns from.
        val: what it is judged by, if there is any.
        test: what is kept for the end, if there is any.
        classes: class names in the order of the labels.
        source: where the data came from, for people and manifests.
        notes: what was done or left out on the way, a line each.
        tasks: what the targets of the splits are, if there are several tasks.
        corrections: labels that were changed and images that were left out after reading, see `xfer.data.corrections`.
    """

    train: Split
    val: Split | None
    test: Split | None
    classes: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    corrections: tuple[Correction, ...] = ()

    @property
    def splits(self) -> dict[str, Split]:
        """The splits there are, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    def __repr__(self) -> str:
        what = f"tasks {listed(task.name for task in self.tasks)}" if self.tasks else classes_text(self.classes)
        sizes = ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())
        kind = "images" if self.train is None or self.train.after is None else f"outputs of {self.train.after!r}"
        lines = [f"Data from {path_text(self.source)}: {what}", f"  {kind}: {sizes}"]
        return "\n".join([*lines, *([f"  {count_of(len(self.notes), 'note')}: see data.notes"] if self.notes else [])])

    def _repr_html_(self) -> str:
        """Images of each class in each split, as a notebook shows them."""
        counts = {name: split.counts() for name, split in self.splits.items()}
        first = next(iter(counts.values()))
        most = max([*first.values(), 1])
        rows = [
            (one_line(c, 40), *(of[c] for of in counts.values()), first[c] / most)
            for c in self.classes[:_ROWS]
            if c in first
        ]
        rows.append(("all", *(len(split) for split in self.splits.values()), ""))
        return html.view(
            html.title(f"{self.source}: {count_of(len(self.classes), 'class', 'classes')}"),
            html.table(("images", *counts, ""), rows, bar=len(counts) + 1),
            html.more(min(_ROWS, len(self.classes)), len(self.classes), "classes"),
            *(html.note(line) for line in self.notes[:_ROWS]),
        )

    def show(self, split: str = "train", *, n: int = 8, **options: Any) -> Any:
        """Pictures of each class of a split, and of what a network gets of them; see `xfer.data.views.show`.

        Args:
            split: "train", "val" or "test".
            n: how many images, spread over the classes.
            options: `views`, `model`, `image_size`, `augment`, `mix`, `augment_minority`, `sampling`, `batch_size`,
                `seed`, as `xfer.data.views.show`.
        """
        from xfer.data.views import show

        return show(self, split, n=n, **options)

    @property
    def judged(self) -> Split:
        """The split that a model is evaluated on: validation, else test, else train."""
        return next(split for split in (self.val, self.test, self.train) if split is not None)

    def describe(self) -> str:
        """A few lines for people: sizes, images of each class, notes."""
        sizes = ", ".join(f"{name} {len(split)}" for name, split in self.splits.items())
        counts = [f"{name} {count}" for name, count in self.train.counts().items()]
        rest = [f"... {len(counts) - _LISTED} more"] if len(counts) > _LISTED else []
        lines = [f"{self.source}: {len(self.classes)} classes; images: {sizes}"]
        lines.append("train: " + ", ".join(counts[:_LISTED] + rest))
        return "\n  ".join([*lines, *self.notes])


@dataclass(frozen=True)
class _Subset:
    images: Images
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.images[int(self.indices[index])]

    def taken(self, indices: np.ndarray) -> Images:
        """These images, without the others."""
        return detached(self.images, self.indices[indices])


def detached(images: Images, indices: np.ndarray) -> Images:
    """The images at these places without the others, where a part of them holds all of them."""
    if isinstance(images, np.ndarray):
        return np.asarray(images[indices])
    take = getattr(images, "taken", None)
    return Named(images).taken(indices) if take is None else take(indices)  # type: ignore[no-any-return, arg-type]
