"""The feature cache: outputs of frozen blocks on disk, computed once for each image.

A space holds the rows of one network up to one block: its folder is named by a digest of the backend and its
versions, the tensors of those blocks, the preprocessing and the precision. In it a row belongs to the digest of an
image's content. So a row is never stale: whatever could change it changes its name. How rows lie on disk, `segments`
says: any number of processes add to a space at once, and the files of a space from another machine only need copying
into the folder of the same name. Where the cache cannot be written, training goes on without it, and says so.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data import Data, Split, load
from xfer.data.cached import AugmentedFeatures, CachedFeatures, view_codes
from xfer.data.images.decode import BadImageError, decode, resize_crop
from xfer.errors import DataError
from xfer.features import store
from xfer.features.boundary import boundary
from xfer.features.extractor import Extractor, InProcess, estimate
from xfer.features.keys import Augmented, Job, digests_of
from xfer.features.namespace import Namespace, make_room
from xfer.features.shard import Shard
from xfer.models.base_model import BaseModel
from xfer.models.fingerprint import prefix
from xfer.runtime import progress
from xfer.runtime.paths import expanded, features_dir
from xfer.runtime.text import path_text, size_text

BUDGET = 20 << 30
EXTRACTING = "extracting features"


@dataclass(frozen=True)
class CacheUse:
    """What the cache did for one data set.

    Args:
        there: images whose rows were found.
        computed: images whose rows were made.
        row_bytes: of one row; 0 where there is none.
        unreadable: images that have no row.
        folder: of the space.

    Of augmented images, each view counts.
    """

    there: int
    computed: int
    row_bytes: int
    unreadable: int = 0
    folder: Path | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        where = "" if self.folder is None else f" in {path_text(self.folder)}"
        counts = f"{self.there:,} images found, {self.computed:,} computed, {self.unreadable:,} cannot be read"
        return f"CacheUse({counts}{where})"

    def __add__(self, other: CacheUse) -> CacheUse:
        return CacheUse(
            self.there + other.there,
            self.computed + other.computed,
            self.row_bytes or other.row_bytes,
            self.unreadable + other.unreadable,
            self.folder or other.folder,
        )


@dataclass(frozen=True)
class FeatureCache:
    """A folder of spaces.

    Args:
        folder: by default `$XFER_FEATURES`, else `features` beside the downloaded weights.
        budget: bytes that all spaces may take; the oldest go first, and what cannot fit is not kept.
    """

    folder: Path = field(default_factory=features_dir)
    budget: int = BUDGET

    def __repr__(self) -> str:
        return f"FeatureCache({path_text(self.folder)}, at most {size_text(self.budget)})"

    @classmethod
    def of(cls, given: bool | str | Path | FeatureCache) -> FeatureCache | None:
        """The cache that an argument `cache` means: True the usual one, False none, a path the one there."""
        if isinstance(given, bool):
            return cls() if given else None
        return given if isinstance(given, FeatureCache) else cls(expanded(given))

    def data(
        self,
        model: BaseModel,
        data: Data,
        after: str,
        batch_size: int,
        workers: int | None,
        names: Collection[str] = ("train", "val"),
        views: Augmented | None = None,
    ) -> tuple[Data, CacheUse]:
        """The data set with outputs of the frozen blocks up to `after` in the place of images, in the splits named.

        Args:
            model: in inference mode, as it is in frozen blocks while training.
            data: of images.
            after: the last of those blocks.
            batch_size: images a forward pass.
            workers: decoding threads; None for one a core.
            names: of splits whose images are taken as they are.
            views: augmented images for the training split.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        splits = {name: split for name, split in data.splits.items() if name in names}
        used, changed, extractor = CacheUse(0, 0, 0), dict[str, Any](), InProcess(model, after)
        if splits:
            jobs = {name: extractor.job(split, batch_size, workers) for name, split in splits.items()}
            found, used = self._fetch(extractor, jobs)
            changed |= {name: replace(splits[name], images=rows, after=after) for name, rows in found.items()}
        if views is not None:
            job = views.job()
            found, of_views = self._fetch(extractor, {"train": job}, augmented=views.kind)
            seen = AugmentedFeatures(found["train"], view_codes(job.keys), len(data.train))
            changed["train"], used = replace(data.train, images=seen, after=after), used + of_views
        return replace(data, **changed), used

    def look_up(self, model: BaseModel, split: Split, after: str | None = None, workers: int | None = None) -> Split:
        """The split with rows in the place of images, if there is one for all that can be read; else the split itself.

        Nothing is computed and nothing is written.

        Args:
            model: in inference mode.
            split: of images.
            after: the block whose outputs to look for; by default the last of those that are frozen.
            workers: threads that read files.
        """
        stage = after or boundary(model)
        if stage is None or split.after is not None or not any(self.folder.glob(f"{prefix(model.name)}-*")):
            return split
        model.resolve_precision_on(split)
        folder = self.folder / model.fingerprint(stage)
        if not folder.is_dir():
            return split
        digests, recipe = digests_of(split, workers), model.spec.preprocessing
        found, reasons = store.find(folder, set(digests)), dict[bytes, str]()
        for i, digest in enumerate(digests):
            if digest not in found.places and digest not in reasons:
                try:
                    resize_crop(decode(split.images[i], recipe.missing), recipe)
                except BadImageError as bad:
                    reasons[digest] = bad.reason
                else:
                    return split
        with suppress(OSError):
            os.utime(folder)
        return replace(split, images=_rows(found, digests, reasons), after=stage)

    def fill(
        self,
        model: BaseModel,
        data: Any,
        *,
        after: str = "features",
        shard: str | Shard = "0/1",
        batch_size: int = 32,
        workers: int | None = None,
    ) -> CacheUse:
        """Compute the rows of a data set, or of a part of it, that are not there yet, and keep them.

        Processes that fill the parts 0/n to n-1/n, on one machine or on many that share the folder, need nothing from
        each other: none waits, each can be started again at any time, and whoever reads finds the rows of all. On
        machines that share nothing, copy the files of the space into the folder of the same name afterwards.

        Args:
            model: in inference mode; its head does not matter.
            data: whatever `xfer.data.load` takes; every split of it.
            after: a block whose outputs to keep, or "features", which the head reads.
            shard: "i/n": images whose content's digest is i modulo n, however they are listed.
            batch_size: images a forward pass.
            workers: decoding threads; None for one a core.

        Raises:
            UsageError: no such shard. UnknownNameError: no such block. DataError: no pictures. OSError: rows do not
            fit into the budget, or cannot be written.
        """
        return self.fill_by(InProcess(model, after), data, shard=shard, batch_size=batch_size, workers=workers)

    def fill_by(
        self, extractor: Extractor, data: Any, *, shard: str | Shard, batch_size: int, workers: int | None
    ) -> CacheUse:
        """As `fill`, with whatever computes the rows."""
        part = shard if isinstance(shard, Shard) else Shard.parse(shard)
        source = load(data)
        if source.train.after is not None:
            raise DataError(f"{source.source} is outputs of {source.train.after!r} already: give pictures")
        jobs = {name: extractor.job(split, batch_size, workers) for name, split in source.splits.items()}
        return self._fetch(extractor, jobs, part)[1]

    def estimate(self, model: BaseModel, after: str, images: int) -> int:
        """Bytes that the outputs of so many images take."""
        return estimate(model, after, images)

    def _fetch(
        self, extractor: Extractor, jobs: dict[str, Job], shard: Shard | None = None, augmented: str = ""
    ) -> tuple[dict[str, CachedFeatures], CacheUse]:
        """The rows that are asked for, those that were missing computed first; outside of the shard, none."""
        name = extractor.namespace((job.loader.split for job in jobs.values()), augmented)
        part, space = shard or Shard(), Namespace(self.folder / name)
        everything = {digest for job in jobs.values() for digest in job.digests}
        mine = {digest for digest in everything if part.has(digest)}
        found = before = store.find(space.folder, mine)
        reasons: dict[bytes, str] = {}
        if mine <= before.places.keys():  # nothing is written: others may fill it, and a folder may be read-only
            with suppress(OSError):
                os.utime(space.folder)
        else:
            with space.locked(f"{part.index}-of-{part.count}"):
                before = store.find(space.folder, mine)
                missing = mine - before.places.keys()
                if missing:
                    here = before if mine == everything else store.find(space.folder, everything)
                    row_bytes = here.row_bytes or extractor.row_bytes()
                    make_room(space, here, len(everything), row_bytes, self.budget)
                with store.Writer(space.folder) as out, progress.work(EXTRACTING, len(missing)) as report:
                    for job in jobs.values():
                        reasons |= extractor.compute(job, missing, out, report.advance)
                        missing = missing.difference(job.digests)
                found = store.find(space.folder, mine) if out.written else before
        if lost := len(mine - found.places.keys() - reasons.keys()):
            raise OSError(
                f"{lost} cached features disappeared while they were written: does another run remove {space.folder}?"
            )
        listed = [digest for job in jobs.values() for digest in job.digests if digest in mine]
        there, bad = (sum(digest in known for digest in listed) for known in (before.places, reasons))
        used = CacheUse(there, len(listed) - there - bad, found.row_bytes, bad, space.folder)
        return {split: _rows(found, job.digests, reasons) for split, job in jobs.items()}, used


def _rows(found: store.Found, digests: Sequence[bytes], reasons: dict[bytes, str]) -> CachedFeatures:
    places = np.full((len(digests), 2), -1, np.int64)
    for i, digest in enumerate(digests):
        if digest in found.places:
            places[i] = found.places[digest]
    return CachedFeatures(
        found.stores, places, {i: reasons[digest] for i, digest in enumerate(digests) if digest in reasons}
    )
