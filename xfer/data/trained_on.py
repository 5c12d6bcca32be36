"""Which images a model was trained on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xfer.data.dataset import Data, Split
from xfer.data.texts import Texts, firsts


class _Images(NamedTuple):
    place: str
    names: Sequence[str]
    pixels: str | None  # of the first


class TrainedOn:
    """The images that a model was trained on in this process."""

    def __init__(self) -> None:
        self._fits: list[_Images] = []

    def add(self, data: Data) -> None:
        """Remember the training split."""
        names = data.train.names
        if names and (images := _Images(_place(data.source), names, _pixels(data.train, 0))) not in self._fits:
            self._fits.append(images)

    def among(self, source: str, split: Split) -> np.ndarray:
        """Which images of a split are among them, bool (N,): those of the same source and name.

        Names of arrays are numbers, so the pixels of one image must be the same as well.
        """
        known, place = np.zeros(len(split), bool), _place(source)
        for fit in (fit for fit in self._fits if fit.place == place):
            first = firsts(Texts.joined(fit.names, split.names))[len(fit.names) :]
            same = np.flatnonzero(first == 0)  # those of the name that the fit has first
            if len(same) and fit.pixels == _pixels(split, int(same[-1])):
                known |= first < len(fit.names)
        return known


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
