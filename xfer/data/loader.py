"""Batches of pixels, each a pure function of the seed, the epoch and its number."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice, tee
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from xfer.data.batch import Batch, Skipped, reported
from xfer.data.budget import Budget
from xfer.data.cached import AugmentedFeatures
from xfer.data.columns import Columns
from xfer.data.dataset import Split
from xfer.data.images.decode import BadImageError, decode
from xfer.data.partners import Mixing
from xfer.data.sampling import buffered, quotas, repetitions, sample
from xfer.data.transforms.augment import Augment
from xfer.data.transforms.mix import Mix, one_hot
from xfer.data.transforms.test_time import TestTimeView
from xfer.data.workers import Sample, in_order, threads
from xfer.errors import DataError, UsageError, check_name
from xfer.runtime.distributed import SINGLE_PROCESS, DistributedContext
from xfer.specs.choices import OnBad, Sampling
from xfer.specs.preprocessing import Preprocessing

_BATCHES_AHEAD = 2
_NO_EPOCH = 2**32 - 1  # in its place, for what all epochs share


class Loader:
    """A split as batches.

    Sampling and order come from `default_rng([seed, epoch])`, each augmentation from
    `default_rng([seed, epoch, index])`, or `default_rng([seed, epoch, index, n])` the n-th time that sampling repeats
    the image in the epoch; with `views`, from the epoch modulo their number. So batches do not depend on the workers,
    and an epoch can begin at any batch. An unreadable image is missing from its batch and listed in `skipped`; nothing
    takes its place.

    Args:
        split: what to load.
        preprocessing: size, resize and interpolation.
        batch_size: images a batch.
        seed: of order and augmentation, 0 or more.
        shuffle: another order each epoch, instead of the split's.
        buffer: shuffle as `tf.data.Dataset.shuffle` with a buffer of so many, after one permutation that all epochs
            share; None permutes all images anew.
        sampling: which images make an epoch. "none": each once. "over": as many of each class as the largest has, by
            repeating images. "under": as many as the smallest has, others each epoch. "balanced": equally many of each
            class in an epoch of the usual length. See `xfer.data.sampling.quotas`.
        augment: see `Augment.parse`; or a fixed `TestTimeView`.
        augment_minority: takes its place for classes with fewer images than the mean class has.
        mix: see `Mix.parse`; labels become shares of the classes.
        columns: makes numbers of the split's columns.
        workers: threads that decode ahead, two batches beyond the one in use; 0 decodes in the caller's, None takes one
            for each core, at most 8. Threads, because Pillow releases the GIL: on two cores they decode as many images
            a second as a pool of processes does, which `benchmarks/loader.py` measures.
        drop_last: leave out a last batch that is not full.
        distributed: the processes that share each batch; each decodes its part, and all know what could not be read.
        on_bad: "report" leaves an unreadable image out and lists it; "raise" stops at the first of the epoch's order;
            "impute" lists it and puts an image of the mean colour in its place, so that its row stays.
        memory: for what became of files and encoded bytes, from epoch to epoch, as far as it fits: the final pixels, or
            what a random augmentation begins with. The same pixels come out; a file that changes on disk meanwhile is
            not noticed. Pixels that a data set hands over are not kept, for they may be others each time. None keeps
            nothing, which is right for a single pass.
        views: augment as in the first so many epochs, over and over; None never repeats.

    Raises:
        UsageError: a number or word that does not fit, `drop_last` where no batch is full, or sampling of images
            without labels.
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        buffer: int | None = None,
        sampling: Sampling = "none",
        augment: Augment | TestTimeView | str | Iterable[str] | None = None,
        augment_minority: Augment | str | Iterable[str] | None = None,
        mix: Mix | str | None = None,
        columns: Columns | None = None,
        workers: int | None = 0,
        drop_last: bool = False,
        on_bad: OnBad = "report",
        memory: Budget | None = None,
        distributed: DistributedContext = SINGLE_PROCESS,
        views: int | None = None,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0)):
            if value < least:
                raise UsageError(f"{name}={value}: give {least} or more")
        check_name("on_bad", on_bad, get_args(OnBad))
        check_name("sampling", sampling, get_args(Sampling))
        size = int(quotas(split.labels, sampling).sum())
        if drop_last and 0 < size < batch_size:
            raise UsageError(
                f"drop_last leaves nothing of {size} images in batches of {batch_size}: make the batches smaller"
            )
        self.split, self.preprocessing, self.batch_size = split, preprocessing, batch_size
        self.seed, self.shuffle, self.drop_last = seed, shuffle, drop_last
        self.sampling, self.size, self.buffer = sampling, size, buffer
        self.augment = augment if isinstance(augment, TestTimeView) else Augment.parse(augment)
        self.on_bad, self.views = on_bad, views
        self.mix = Mix.parse(mix)
        self._minor = _minor(split.labels) if augment_minority is not None else np.zeros(len(split), bool)
        self.distributed = distributed
        self.augment_minority = Augment.parse(augment_minority)
        self._columns = None if columns is None else _numbers(split, columns)
        _check_stage(split, self.mix, self.augment, self.augment_minority)
        self.workers = threads(workers) if split.after is None else 0  # rows are there already
        self.memory = memory
        self._kept: dict[int, Image.Image | np.ndarray] = {}
        self._bad: dict[int, str] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        whole, rest = divmod(self.size, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __repr__(self) -> str:
        chosen = {"augment": self.augment, "mix": self.mix, "sampling": self.sampling, "shuffle": self.shuffle}
        said = "".join(f", {name}={value}" for name, value in chosen.items() if str(value) not in ("none", "False"))
        what = "images" if self.split.after is None else f"outputs of {self.split.after!r}"
        size = f" of {self.preprocessing.size} px" if self.split.after is None else ""
        return f"Loader({self.size:,} {what}{size} in {len(self):,} batches of {self.batch_size}{said})"

    @property
    def skipped(self) -> list[Skipped]:
        """Images found unreadable so far, each once, by name."""
        imputed = self.on_bad == "impute"
        listed = [Skipped(self.split.names[index], reason, imputed) for index, reason in self.unreadable.items()]
        return sorted(listed, key=lambda skipped: skipped.name)

    @property
    def unreadable(self) -> dict[int, str]:
        """Why images were found unreadable so far, by index."""
        with self._lock:
            return dict(self._bad)

    def know(self, skipped: Iterable[Skipped]) -> None:
        """Take over what another loader of the same split found unreadable."""
        reasons = {bad.name: bad.reason for bad in skipped}
        with self._lock:
            self._bad |= {i: reasons[name] for i, name in enumerate(self.split.names) if name in reasons}

    def order(self, epoch: int) -> np.ndarray:
        """Sample indices int64 (`size`,) in the order of an epoch, a pure function of the seed and the epoch.

        With sampling some may be there more than once, and some not at all.
        """
        rng = np.random.default_rng([self.seed, epoch])
        if self.sampling == "none":
            return self._shuffled(np.arange(self.size), rng)
        return self._shuffled(sample(self.split.labels, self.sampling, rng), rng)

    def _shuffled(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self.shuffle:
            return indices
        if self.buffer is None:
            return rng.permutation(indices)
        return buffered(np.random.default_rng([self.seed, _NO_EPOCH]).permutation(indices), self.buffer, rng)

    def keys(self, epoch: int) -> np.ndarray:
        """What an epoch reads, in order: int64 (N, 2), the index of a sample, and how often it came before."""
        order = self.order(epoch)[: len(self) * self.batch_size]
        found = np.zeros((len(order), 2), np.int64)
        found[:, 0] = order
        if self.sampling != "none":
            found[:, 1] = repetitions(order)
        return found

    def epoch(
        self,
        epoch: int,
        start: int = 0,
        *,
        keys: np.ndarray | None = None,
        allow_nothing: bool = False,
        doing: str = "",
    ) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on; a batch without a readable image is left out.

        Threads live as long as the iterator: exhaust it, close it or let go of it.

        Args:
            epoch: which.
            start: its first batch.
            keys: what to read in the place of `keys(epoch)`.
            allow_nothing: an epoch of which no image can be read is empty, not an error.
            doing: what the progress of this pass is called, such as "evaluating"; it is not shown without.

        Raises:
            DataError: no image of the split can be read; with `on_bad="raise"`, the first that cannot, by name.
            UsageError: `start` is not among the batches.
        """
        if not 0 <= start <= len(self):
            raise UsageError(f"start={start}: an epoch has {len(self)} batches, give 0 to {len(self)}")
        wanted = self.keys(epoch) if keys is None else keys
        batches = self._batches(epoch, start, wanted, allow_nothing)
        return reported(batches, doing, start, self.batch_size, len(wanted)) if doing else batches

    def collect(
        self, answer: Callable[[Batch], np.ndarray], epoch: int = 0, *, doing: str = ""
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One pass over an epoch: what `answer` makes of each batch, the labels, and the indices, row by row.

        Every process makes its share, and all get the whole. `doing` names the pass, as in `epoch`.
        """
        batches = self.epoch(epoch, doing=doing)
        found = [(self._whole(answer(batch), batch), batch.labels, batch.indices) for batch in batches]
        rows, labels, indices = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return rows, labels, indices

    def _batches(self, epoch: int, start: int, keys: np.ndarray, allow_nothing: bool) -> Generator[Batch, None, None]:
        nothing = start == 0 and len(keys) > 0 and not allow_nothing
        # Repetitions were counted from the beginning of the epoch, wherever it is entered.
        rest = keys[start * self.batch_size :]
        batches = (rest[i : i + self.batch_size] for i in range(0, len(rest), self.batch_size))
        mixing = Mixing(self.mix, self.seed, epoch, self.distributed, lambda index, nth: self._read(index, epoch, nth))
        bad = () if self.on_bad == "impute" else self.unreadable
        parts, ahead = tee(mixing.part(batch, number, bad) for number, batch in enumerate(batches, start))
        with closing(self._samples((part.keys for part in ahead), epoch)) as samples:
            for number, part in enumerate(parts, start):
                mine = part.batch[part.own]
                good = [(index, pixels) for index, pixels in islice(samples, len(mine)) if pixels is not None]
                own = np.array([index for index, _ in good], np.int64)
                beside = [pixels for _, pixels in islice(samples, len(part.beside))]
                shards = self._told(own, mine, f"batch {number} of epoch {epoch}")
                indices = np.concatenate(shards)
                if len(indices):
                    nothing = False
                    pixels = [each for _, each in good]
                    images = np.stack(pixels) if pixels else self._none(int(indices[0]), epoch)
                    labels = (self.split.labels if self.split.targets is None else self.split.targets)[indices]
                    if self.mix:
                        shares = one_hot(labels, len(self.split.classes))
                        images, labels = mixing.mixed(images, shares, number, part, beside, shards)
                    columns = None if self._columns is None else self._columns[own]
                    counts = tuple(map(len, shards)) if len(shards) > 1 else ()
                    yield Batch(images, labels, indices, number, self.split.after, columns, counts)
        if nothing:
            first = self.skipped[0]
            number = len(np.unique(keys[:, 0]))
            raise DataError(f"none of the {number} images can be read; the first, {first.name}: {first.reason}")

    def _told(self, good: np.ndarray, part: np.ndarray, what: str) -> list[np.ndarray]:
        """Indices of the samples that each process could read; all learn why the others could not be."""
        with self._lock:
            bad = {index: self._bad[index] for index in part[:, 0].tolist() if index in self._bad}
        told = self.distributed.gather((good, bad), what)
        with self._lock:
            for _, theirs in told:
                self._bad |= theirs
        return [each for each, _ in told]

    def _whole(self, rows: np.ndarray, batch: Batch) -> np.ndarray:
        return (
            np.concatenate(self.distributed.gather(rows, f"answers to batch {batch.number}")) if batch.shards else rows
        )

    def _samples(self, keys: Iterable[np.ndarray], epoch: int) -> Generator[Sample, None, None]:
        ahead = max(_BATCHES_AHEAD * self.batch_size, 2 * self.workers)
        return in_order(lambda index, nth: self._read(index, epoch, nth), keys, self.workers, ahead)

    def _read(self, index: int, epoch: int, nth: int) -> np.ndarray | None:
        view, images = epoch % self.views if self.views else epoch, self.split.images
        augment = self.augmentation(index)
        try:
            if self.split.after is not None:
                return np.asarray(
                    images.at(view, index, nth) if isinstance(images, AugmentedFeatures) else images[index]
                )
            prepared = self._prepared(index, augment)
        except BadImageError as bad:
            if self.on_bad == "raise":
                raise DataError(f"cannot read {self.split.names[index]}: {bad.reason}; repair or remove it") from None
            with self._lock:
                self._bad[index] = bad.reason
            return self._blank() if self.on_bad == "impute" else None
        if isinstance(prepared, np.ndarray):
            return prepared
        assert isinstance(augment, Augment)  # a view leaves nothing to chance
        rng = np.random.default_rng([self.seed, view, index, *([nth] if nth else [])])
        return augment.randomise(prepared, self.preprocessing, rng)

    def _prepared(self, index: int, augment: Augment | TestTimeView) -> Image.Image | np.ndarray:
        """An image up to where chance begins, kept if there is room."""
        if index in self._kept:
            return self._kept[index]
        recipe, source = self.preprocessing, self.split.images[index]
        found = augment.prepare(decode(source, recipe.missing, recipe.kept), recipe)
        if self.memory is not None and isinstance(source, (Path, bytes)):
            with self._lock:  # sampling may have another thread decode the same image at once
                if index not in self._kept and self.memory.take(found):
                    self._kept[index] = found
        return found

    def _none(self, index: int, epoch: int) -> np.ndarray:
        """No sample, in the shape of the one at `index`: (0, ...)."""
        return np.asarray(self._read(index, epoch, 0))[None][:0]

    def augmentation(self, index: int) -> Augment | TestTimeView:
        """What is done to a sample."""
        return self.augment_minority if self._minor[index] else self.augment

    def _blank(self) -> np.ndarray:
        """uint8 (S, S, 3) of the colour that normalises to 0."""
        size = self.preprocessing.size
        colour = np.clip(np.rint(np.array(self.preprocessing.mean) * 255), 0, 255).astype(np.uint8)
        return np.tile(colour, (size, size, 1))


def _minor(labels: np.ndarray) -> np.ndarray:
    """Which images are of classes with fewer of them than the mean class has, bool (N,)."""
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    return np.isin(labels, classes[counts < counts.mean()]) if len(classes) else np.zeros(len(labels), bool)


def _numbers(split: Split, columns: Columns) -> np.ndarray:
    if split.columns is None or split.column_names != columns.names:
        given = ", ".join(split.column_names) or "none"
        raise DataError(f"the model reads columns {', '.join(columns.names)} beside the image: the data has {given}")
    return columns.transform(split.columns)


def _check_stage(split: Split, mix: Mix, *augments: Augment | TestTimeView) -> None:
    """What is changed in pictures cannot be in features, nor can targets of several tasks be mixed.

    Raises:
        UsageError: augmentation or CutMix of features, or Mixup of tasks.
    """
    if split.after is not None and (mix.cutmix or any(str(augment) != "none" for augment in augments)):
        raise UsageError(f"the data is outputs of {split.after!r}, not pictures: leave out augmentation and cutmix")
    if split.targets is not None and mix:
        raise UsageError(f"mix={mix} blends labels of one task, once: leave it out with several, or with shares")
