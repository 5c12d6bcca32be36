"""Samples of a data set to look at: images of each class, and what a network gets of them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xfer.data.sheet import contact_sheet
from xfer.errors import DataError, UsageError
from xfer.runtime import html
from xfer.runtime.files import write_atomically
from xfer.runtime.paths import expanded
from xfer.runtime.text import count_of, one_line, path_text

_PICTURES = 150  # of a notebook's cell
_ACROSS = 4
_WIDTH = 128  # pixels of a picture in a page


@dataclass(frozen=True, eq=False)
class View:
    """What the network gets of an image: uint8 (S, S, 3), before normalisation, and the label that belongs to it."""

    pixels: np.ndarray
    label: str


@dataclass(frozen=True, eq=False)
class Sample:
    """An image of a split, upright and small, its name and its label, and what the network gets of it by epoch."""

    name: str
    label: str
    image: Image.Image
    views: tuple[View, ...] = ()

    def __repr__(self) -> str:
        return f"Sample('{path_text(self.name, 60)}', {one_line(self.label, 40)}, {count_of(len(self.views), 'view')})"


class Samples(Sequence[Sample]):
    """Samples of a split, which a notebook shows as pictures.

    Args:
        samples: in the order of their classes.
        title: what they are of.
        recipe: what is done to the images, in words; empty where their views are not shown.
    """

    def __init__(self, samples: Sequence[Sample], title: str, recipe: str = "") -> None:
        self._samples, self.title, self.recipe = tuple(samples), title, recipe

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        return (
            Samples(self._samples[index], self.title, self.recipe) if isinstance(index, slice) else self._samples[index]
        )

    def __repr__(self) -> str:
        recipe = f"; {self.recipe}" if self.recipe else ""
        return f"Samples({one_line(self.title, 120)}: {count_of(len(self), 'image')}{recipe})"

    def _repr_html_(self) -> str:
        return html.view(*self._parts())

    def image(self) -> Image.Image:
        """The samples as one picture, RGB: a row for each image with its views, or a grid where there are none."""
        cells: list[list[tuple[Image.Image | np.ndarray, str]]] = [
            [(each.image, each.label), *((view.pixels, view.label) for view in each.views)] for each in self
        ]
        if not any(each.views for each in self):
            flat = [cell for row in cells for cell in row]
            cells = [flat[i : i + _ACROSS] for i in range(0, len(flat), _ACROSS)]
        return contact_sheet(cells)

    def save(self, path: str | Path) -> Path:
        """Write a page (`.html`) or a picture (`.png`, `.jpg`).

        Raises:
            UsageError: another suffix. DataError: it cannot be written.
        """
        to = expanded(path)
        suffix = to.suffix.lower()
        if suffix == ".html":
            content = html.page(self.title, *self._parts()).encode("utf-8", "xmlcharrefreplace")
        elif suffix in (".png", ".jpg", ".jpeg"):
            written = io.BytesIO()
            self.image().save(written, "PNG" if suffix == ".png" else "JPEG")
            content = written.getvalue()
        else:
            raise UsageError(f"{to.name} is neither a page nor a picture: give .html, .png or .jpg")
        try:
            write_atomically(to, content)
        except OSError as error:
            raise DataError(f"cannot write {to}: {error.strerror or error}") from None
        return to

    def _parts(self) -> Iterator[str]:
        yield html.title(self.title)
        if self.recipe:
            yield html.note(f"First the image, then what the network gets in each epoch: {self.recipe}")
        figures, shown = [], 0
        for sample in self:
            if shown and shown + 1 + len(sample.views) > _PICTURES:
                break
            shown += 1 + len(sample.views)
            figures.append(
                [_figure(sample.image, sample.label, sample.name), *(_view(v, sample) for v in sample.views)]
            )
        if self.recipe:
            yield from (html.row(each) for each in figures)
        else:
            yield html.row(each for row in figures for each in row)
        yield html.more(len(figures), len(self), "images")


def _figure(image: Image.Image, label: str, name: str) -> str:
    picture = html.picture(html.data_uri(image, _WIDTH), f"{label}: {name}", _WIDTH)
    return html.figure(picture, f'<span title="{html.text(name)}">{html.text(one_line(label, 60))}</span>', _WIDTH)


def _view(view: View, sample: Sample) -> str:
    label = "" if view.label == sample.label else html.text(one_line(view.label, 60))
    picture = html.picture(html.data_uri(Image.fromarray(view.pixels), _WIDTH), f"view of {sample.name}", _WIDTH)
    return html.figure(picture, label, _WIDTH)
