"""Loading data of any kind."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data.corrections import Corrections, corrected
from xfer.data.dataset import UNLABELLED, Data, Split
from xfer.data.sources.datasets import is_array_pair, wrap
from xfer.data.sources.folders import folder, images_in
from xfer.data.sources.paths import AnyPath, Files, Named, existing
from xfer.data.sources.pixels import as_picture
from xfer.data.sources.tables import manifest
from xfer.data.texts import Texts
from xfer.errors import DataError
from xfer.runtime.paths import expanded
from xfer.runtime.progress import step

TABLES = (".csv", ".tsv", ".parquet")


def load(
    source: Any,
    *,
    classes: Sequence[str] | None = None,
    val: float = 0.2,
    seed: int = 0,
    corrections: Corrections = None,
) -> Data:
    """A task from whatever is given.

    Args:
        source: a `Data` (returned as it is); a `Split` (train alone); the path of a folder (see `folder`) or table
            (`manifest`); a pair of arrays (x, y), two of them ((x, y), (x_val, y_val)), a mapping from train, val
            and test to data sets, or a data set (`wrap`).
        classes: class names, for arrays and data sets.
        val: share of train to hold out for validation where no split is given.
        seed: of the hold-out.
        corrections: a CSV file of corrected labels, or labels by name; see `xfer.data.corrections.corrected`.

    Raises:
        DataError: a path that is not there, or a source of no known kind.
    """
    return corrected(_load(source, classes, val, seed), corrections)


def _load(source: Any, classes: Sequence[str] | None, val: float, seed: int) -> Data:
    if isinstance(source, Data):
        return source
    if isinstance(source, Split):
        return Data(source, None, None, source.classes, "split")
    if isinstance(source, (str, os.PathLike)):
        return _load_path(existing(source), val, seed)
    if isinstance(source, tuple) and len(source) == 2 and all(map(is_array_pair, source)):
        return wrap(*source, classes=classes, share=val, seed=seed)
    return wrap(source, classes=classes, share=val, seed=seed)


def pictures(images: Any) -> Split:
    """Images without labels.

    Args:
        images: a path, encoded bytes, a Pillow image, an array or tensor of one image or of several (N, H, W, 3), a
            sequence of such images, a folder (all images in and below it), or a `Split` (returned as it is).

    Raises:
        DataError: a path that is not there, a folder without images, or something that is no image.
    """
    if isinstance(images, Split):
        return images
    found = _each(images)
    if isinstance(found, Files):
        return Split(found, np.full(len(found), UNLABELLED), Texts.of(found.paths()))
    return _unlabelled([_existing(image, f"image {i}") for i, image in enumerate(found)], 0)


def windows(images: Any, size: int) -> Iterator[Split]:
    """Images without labels, so many at a time: only these are in memory.

    Args:
        images: what `pictures` takes, or an iterator over images, which is read as it goes. A file that is not there is
            no error here: whoever reads it says so.
        size: of each split but the last.

    Raises:
        DataError: as `pictures`.
    """
    if isinstance(images, Split):
        for start in range(0, len(images), size):
            yield images.subset(np.arange(start, min(start + size, len(images))))
        return
    each = iter(images if isinstance(images, Iterator) else _each(images))
    for first in count(0, size):
        found = [as_picture(image, f"image {i}") for i, image in enumerate(islice(each, size), first)]
        if not found:
            return
        yield _unlabelled([expanded(image) if isinstance(image, Path) else image for image in found], first)


def _unlabelled(images: Sequence[Any], first: int) -> Split:
    """Images with their paths for names, or their numbers, from `first` on."""
    is_path = [isinstance(image, (Path, str)) for image in images]  # a text is a URL
    names = Texts.of(
        str(image) if path else str(i) for i, (image, path) in enumerate(zip(images, is_path, strict=True), first)
    )
    return Split(Named(images), np.full(len(images), UNLABELLED), names)


def _load_path(path: AnyPath, val: float, seed: int) -> Data:
    with step(f"listing the images of {path.name}"):
        if path.is_dir():
            return folder(str(path), val=val, seed=seed)
        if path.suffix.lower() in TABLES:
            return manifest(str(path), val=val, seed=seed)
    raise DataError(f"{path} is neither a folder nor a table: give class folders or {', '.join(TABLES)}")


def _each(images: Any) -> Iterable[Any]:
    """The images one by one, not looked at."""
    if isinstance(images, (str, os.PathLike)):
        path = existing(images)
        if not path.is_dir():
            return [path if isinstance(path, Path) else str(path)]
        found = images_in(path)
        if not len(found):
            raise DataError(f"{path} has no images in it: give image files or a folder of them")
        return found
    if _is_list_of_paths(images):
        return list(images)
    several = isinstance(images, Sequence) and not isinstance(images, bytes)
    if several or len(getattr(images, "shape", ())) == 4:
        return images  # type: ignore[no-any-return]
    return [as_picture(images, "the image")]


def _is_list_of_paths(images: Any) -> bool:
    """Whether these are texts or objects in an array of NumPy, or in a column of pandas."""
    kind = getattr(getattr(images, "dtype", None), "kind", None)
    name = type(getattr(images, "dtype", None)).__name__  # of pandas's own texts
    return len(getattr(images, "shape", ())) == 1 and (kind in ("U", "S", "O") or "String" in name)


def _existing(image: Any, what: str) -> Any:
    picture = as_picture(image, what)
    return existing(picture) if isinstance(picture, Path) else picture
