"""Small pictures for the report, as data URIs."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from xfer.data.images.decode import BadImageError, decode
from xfer.errors import XferError
from xfer.runtime import html
from xfer.specs.settings import RunSettings
from xfer.workflows.setup import read_data

MOST = 24
SIDE = 176  # pixels, twice what the page shows on an ordinary screen in two columns


def thumbnails(config: RunSettings, names: Sequence[str]) -> dict[str, str]:
    """JPEG data URIs of validation images by name; those that can no longer be read are missing.

    Args:
        config: of a run, which says how to find the data.
        names: of images of the split that the run was judged by.
    """
    if not names:
        return {}
    try:
        data = read_data(config)
    except XferError:
        return {}  # the runs are older than a change of the data: the report does without pictures
    split = next(s for s in (data.val, data.test, data.train) if s is not None)
    places = {name: index for index, name in enumerate(split.names)}
    found = {}
    for name in names:
        try:
            found[name] = data_uri(decode(split.images[places[name]]))
        except (BadImageError, KeyError):
            continue
    return found


def data_uri(image: Image.Image, side: int = SIDE) -> str:
    """An RGB image as a JPEG data URI, its longer side at most `side`; tiny ones are enlarged in whole steps."""
    return html.data_uri(image, side)
