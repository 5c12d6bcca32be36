"""What identifies the cached features of an image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xfer.data import Loader, Split
from xfer.data.cached import view_codes, view_keys
from xfer.data.dataset import Images
from xfer.data.images.decode import BadImageError, opened
from xfer.data.workers import threads
from xfer.runtime import progress
from xfer.specs.preprocessing import Preprocessing

_HASHING = "hashing images"  # by which cached features are found


@dataclass(frozen=True, eq=False)
class Augmented:
    """The views of training images that some epochs of a loader see.

    Args:
        loader: of images, with `views`; in epoch e it sees the views of epoch e modulo their number.
        epochs: those to come.
    """

    loader: Loader
    epochs: Sequence[int]

    @property
    def kind(self) -> str:
        """What decides a view besides the image, its place in the split and the number of the view."""
        return f"{self.loader.augment} {self.loader.augment_minority} {self.loader.seed}"

    def job(self) -> Job:
        """The views, each once, in the order of their codes."""
        loader, number, codes = self.loader, self.loader.views, np.zeros(0, np.int64)
        assert number is not None
        same = loader.sampling == "none" and not loader.drop_last  # every epoch sees all images, each once
        for epoch in self.epochs[:number] if same else self.epochs:
            keys = loader.keys(epoch)
            codes = np.union1d(codes, view_codes(np.column_stack([np.full(len(keys), epoch % number), keys])))
        keys, contents = view_keys(codes), digests_of(loader.split, loader.workers)
        loader.split = checked(loader.split, contents)
        digests = [
            hashlib.sha256(contents[i] + f"{loader.augmentation(i)} {view} {i} {nth}".encode()).digest()
            for view, i, nth in keys.tolist()
        ]
        return Job(loader, keys, digests)


@dataclass(frozen=True, eq=False)
class Job:
    """Cached features to find or to compute.

    Args:
        loader: reads the images.
        keys: int64 (N, 3): for each row the epoch whose augmentation it has, the index of the image, the repetition.
        digests: of the rows.
    """

    loader: Loader
    keys: np.ndarray
    digests: list[bytes]


def plain_job(
    preprocessing: Preprocessing,
    split: Split,
    batch_size: int,
    workers: int | None,
    digests: Sequence[bytes] | None = None,
) -> Job:
    """The job of a split whose images are taken as they are; their digests are computed where they are not given."""
    digests = digests_of(split, workers) if digests is None else digests
    return job_of(preprocessing, checked(split, digests), batch_size, workers, digests)


def job_of(
    preprocessing: Preprocessing, split: Split, batch_size: int, workers: int | None, digests: Sequence[bytes]
) -> Job:
    """A job whose images are taken as they are, and are not compared with their digests."""
    alone = replace(split, columns=None, column_names=(), targets=None)
    loader = Loader(alone, preprocessing, batch_size=batch_size, workers=workers)
    keys = np.zeros((len(split), 3), np.int64)
    keys[:, 1] = np.arange(len(split))
    return Job(loader, keys, list(digests))


def checked(split: Split, digests: Sequence[bytes]) -> Split:
    """The split, whose images are refused where they are not those of the digests any more."""
    return replace(split, images=_Checked(split.images, digests, split.names))


@dataclass(frozen=True)
class _Checked:
    """Images that are the same each time; files are handed over as the bytes whose digest was compared."""

    images: Images
    digests: Sequence[bytes]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, index: int) -> Any:
        """What `decode` reads.

        Raises:
            OSError: the file has changed, or the data set gives other pixels each time.
        """
        source = self.images[index]
        found: Any = _bytes(Path(source)) if isinstance(source, str | os.PathLike) else source
        if _content(source if found is None else found) != self.digests[index]:
            raise OSError(f"{self.names[index]} is not the same each time it is read")
        return source if found is None else found


def digests_of(split: Split, workers: int | None) -> list[bytes]:
    """SHA-256 of the content of each image; of a file, of its bytes; of one that is not there, of its name."""
    places = range(len(split))
    if not threads(workers):
        return list(progress.each((_digest(split, i) for i in places), _HASHING, len(split)))
    with ThreadPoolExecutor(threads(workers)) as pool:
        return list(progress.each(pool.map(lambda i: _digest(split, i), places), _HASHING, len(split)))


def _digest(split: Split, index: int) -> bytes:
    try:
        return _content(split.images[index])
    except BadImageError:  # there is nothing to be had of it; who decodes it says so
        return hashlib.sha256(b"missing " + split.names[index].encode("utf-8", "surrogateescape")).digest()


def _content(source: Any) -> bytes:
    found = hashlib.sha256()
    if isinstance(source, Image.Image):
        orientation = source.getexif().get(0x0112, 1)
        found.update(f"image {source.mode} {source.size} {orientation} ".encode())
        found.update(np.asarray(source.convert("RGBA")).tobytes())
        found.update(source.tobytes())
    elif isinstance(source, np.ndarray):
        found.update(f"array {source.shape} {source.dtype.str} ".encode())
        found.update(np.ascontiguousarray(source).tobytes())
    elif isinstance(source, bytes):
        found.update(b"file " + source)
    else:
        content = _bytes(Path(source))
        found.update(b"missing " + os.fsencode(source) if content is None else b"file " + content)
    return found.digest()


def _bytes(path: Path) -> bytes | None:
    """A file's; None where it cannot be read."""
    try:
        with opened(path) as file:
            return file.read()
    except (OSError, BadImageError):
        return None
