"""Size, format, mode and digest of one image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from PIL import Image

from xfer.data.images.decode import BadImageError, Source, read

_STRIP = 2**22  # pixels that are copied at once


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image that could be read: SHA-256 of its size and pixels, upright size, format and mode as stored."""

    digest: bytes
    width: int
    height: int
    format: str
    mode: str


def look(source: Source) -> ImageInfo | str:
    """What is seen of an image, or the reason why nothing is."""
    try:
        image, form, mode = read(source)
    except BadImageError as bad:
        return bad.reason
    return ImageInfo(digest(image), image.width, image.height, form, mode)


def digest(image: Image.Image) -> bytes:
    """SHA-256 of the size and the pixels of an upright image."""
    found = hashlib.sha256(f"{image.width} {image.height} ".encode())
    rows = max(_STRIP // image.width, 1)
    for top in range(0, image.height, rows):
        found.update(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes())
    return found.digest()
