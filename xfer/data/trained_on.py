"""Which images a model was trained on."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xfer.data.dataset import Data, Split


class _Images(NamedTuple):
    place: str
    names: tuple[str, ...]
    pixels: str | None  # of the first


class TrainedOn:
    """The images that a model was trained on in this process."""

    def __init__(self) -> None:
        self._fits: list[_Images] = []

    def add(self, data: Data) -> None:
        """Remember the training split."""
        names = data.train.names
        if names and (images := _Images(_place(data.source), tuple(names), _pixels(data.train, 0))) not in self._fits:
            self._fits.append(images)

    def among(self, source: str, split: Split) -> np.ndarray:
        """Which images of a split are among them, bool (N,): those of the same source and name.

        Names of arrays are numbers, so the pixels of one image must be the same as well.
        """
        indices, known = {name: i for i, name in enumerate(split.names)}, set[str]()
        for fit in self._fits:
            first = indices.get(fit.names[0])
            if first is not None and fit.place == _place(source) and fit.pixels == _pixels(split, first):
                known.update(fit.names)
        return np.array([name in known for name in split.names], bool)


def _place(source: str) -> str:
    """Where data is from: one name for a path, however it is written."""
    return os.path.realpath(source) if Path(source).exists() else source


def _pixels(split: Split, index: int) -> str | None:
    """SHA-256 of an image; None of a file, of features, and of what cannot be read."""
    with suppress(Exception):  # whatever a data set raises
        if split.after is None and not isinstance(image := split.images[index], Path | bytes):
            return hashlib.sha256(np.asarray(image).tobytes()).hexdigest()
    return None


def contents(split: Split) -> str:
    """SHA-256 of four images of a split as they are stored: equal for a folder and its copy, whatever their paths."""
    digest = hashlib.sha256()
    for index in np.linspace(0, len(split) - 1, 4).astype(int):
        with suppress(Exception):
            image = split.images[index]
            digest.update(image.read_bytes() if isinstance(image, Path) else np.asarray(image).tobytes())
    return digest.hexdigest()
