"""A list of predictions that a notebook shows as pictures with bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, SupportsIndex, overload

import numpy as np
from PIL import Image

from xfer.data.dataset import Split
from xfer.data.images.decode import BadImageError, decode
from xfer.errors import XferError
from xfer.models.predictions import Prediction
from xfer.runtime import html
from xfer.runtime.text import count_of, one_line, path_text

SHOWN = 12  # pictures of a notebook's cell
_SIDE = 128  # pixels, so that a cell stays below 100 kB
_BARS = 3
_REPR = 2
_BYTES = 1 << 22  # of a file in memory that is kept for its picture


@dataclass(frozen=True, eq=False)
class _Shown:
    """One of the first predictions, with the name of its image and where its picture is."""

    prediction: Prediction
    name: str
    source: Any


class PredictionList(list[Prediction]):
    """One `Prediction` for each image; None for one that cannot be read, if that was only to be reported.

    A notebook shows the first twelve with their pictures, read from their files when they are shown.
    """

    _shown: Sequence[_Shown] = ()

    @classmethod
    def of(cls, predictions: Sequence[Any], split: Split) -> Self:
        """The predictions for the images of a split, in its order."""
        found = cls(predictions)
        if split.stored:
            found._shown = [
                _Shown(each, split.names[i], _small(split.images[i]))
                for i, each in enumerate(predictions[:SHOWN])
                if each is not None
            ]
        return found

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice, /) -> PredictionList: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> Prediction | PredictionList:
        if not isinstance(index, slice):
            return super().__getitem__(index)
        part = PredictionList(super().__getitem__(index))
        part._shown = self._shown
        return part

    def __repr__(self) -> str:
        rest = [f"... {len(self) - _REPR:,} more"] if len(self) > _REPR else []
        return f"[{', '.join([*map(repr, self[:_REPR]), *rest])}]"

    def _repr_html_(self) -> str:
        """Pictures with the probabilities of the best classes, as a notebook shows them."""
        shown = {id(each.prediction): each for each in self._shown}  # the list may have been sorted since
        figures = [_figure(each, shown.get(id(each))) for each in self[:SHOWN]]
        rest = html.more(len(figures), len(self), "images")
        return html.view(html.title(count_of(len(self), "image")), html.row(figures), rest)


def _small(source: Any) -> Any:
    """What is kept of an image for its picture: its path, or few enough bytes and pixels."""
    if isinstance(source, np.ndarray):
        step = max(1, max(source.shape[:2]) // _SIDE)
        return source[::step, ::step].copy()
    if isinstance(source, Image.Image):
        step = max(1, max(source.size) // _SIDE)
        return source.resize((max(1, source.width // step), max(1, source.height // step)), Image.Resampling.NEAREST)
    return source if isinstance(source, Path) or (isinstance(source, bytes) and len(source) <= _BYTES) else None


def _figure(prediction: Prediction | None, shown: _Shown | None) -> str:
    if prediction is None:
        return html.figure(html.picture(None, ""), "cannot be read")
    name = "" if shown is None else path_text(shown.name, 40)
    picture = html.picture(None if shown is None else _uri(shown.source), name)
    rows = [(one_line(label, 20), probability, f"{probability:.4f}") for label, probability in prediction.top[:_BARS]]
    return html.figure(f"{picture}<div>{html.text(name)}</div>{html.table((), rows, bar=1)}")


def _uri(source: Any) -> str | None:
    if source is None:
        return None
    try:
        return html.data_uri(decode(source), _SIDE)
    except (BadImageError, XferError, OSError):
        return None  # the file has gone since
