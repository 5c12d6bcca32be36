"""Small pictures for the pages, as data URIs; each image is decoded once, and only what is shown is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from PIL import Image

from xfer.data import Split
from xfer.data.images.decode import BadImageError, decode
from xfer.errors import XferError
from xfer.runtime import html
from xfer.specs.settings import RunSettings
from xfer.workflows.setup import read_data

MOST = 24
SIDE = 176  # pixels, twice what the page shows on an ordinary screen in two columns
_QUALITY = 82


def thumbnails(config: RunSettings, names: Sequence[str]) -> dict[str, str]:
    """JPEG data URIs of validation images by name; those that can no longer be read are missing.

    Args:
        config: of a run, which says how to find the data.
        names: of images of the split that the run was judged by.
    """
    if not names:
        return {}
    try:
        split = read_data(config).judged
    except XferError:
        return {}  # the runs are older than a change of the data: the report does without pictures
    wanted = set(names)
    places = {name: index for index, name in enumerate(split.names) if name in wanted}
    found = small(split, [places[name] for name in names if name in places])
    return {split.names[index]: data_uri(image) for index, image in found.items()}


def small(split: Split, indices: Iterable[int], side: int = SIDE) -> dict[int, Image.Image]:
    """Images of a split by index, the longer side at most `side`; those that cannot be read are missing."""
    found = {}
    for index in dict.fromkeys(indices):
        try:
            image = decode(split.images[index], kept=side)  # large JPEGs are decoded at a part of their size
        except (BadImageError, OSError):
            continue
        found[index] = html.scaled(image, side)
    return found


def data_uri(image: Image.Image, side: int = SIDE, quality: int = _QUALITY) -> str:
    """An RGB image as a JPEG data URI, its longer side at most `side`; tiny ones are enlarged in whole steps."""
    return html.data_uri(image, side, quality)


def sheet(images: Sequence[Image.Image], side: int, columns: int) -> Image.Image:
    """Images in one, each in the middle of a tile of `side` pixels, row by row."""
    rows = -(-len(images) // columns)
    found = Image.new("RGB", (columns * side, rows * side), (127, 127, 127))
    for place, image in enumerate(images):
        tile = html.scaled(image, side)
        left, top = place % columns * side, place // columns * side
        found.paste(tile, (left + (side - tile.width) // 2, top + (side - tile.height) // 2))
    return found
