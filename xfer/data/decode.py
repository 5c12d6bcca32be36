"""From a file to the pixels that every backend sees."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

from xfer.data.repair import repair
from xfer.errors import XferError
from xfer.numerics import MissingPixels, Preprocessing

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_DRAFTS = (8, 4, 2)  # by which libjpeg can divide the sides while it decodes
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


class BadImageError(Exception):
    """An image that cannot be read; a loader leaves it out and says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decode(
    source: Path | bytes | np.ndarray | Image.Image, missing: MissingPixels = "keep", kept: int | None = None
) -> Image.Image:
    """An upright 8-bit RGB image.

    The EXIF orientation is applied. Palettes, grey and CMYK are converted by Pillow; alpha is dropped, as
    `convert("RGB")` and so torchvision do, unless `missing` says what pixels of alpha 0 become; 16-bit grey is scaled
    by 1/257, not clipped. Of an animation it is the first frame.

    Args:
        source: a path, an encoded file, a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a Pillow image.
        missing: what becomes of pixels whose alpha is 0, see `xfer.Preprocessing`.
        kept: pixels that a JPEG's shorter side keeps at least, where decoding may make the file's image smaller; see
            "draft" of `xfer.Preprocessing`. None decodes every pixel.

    Raises:
        BadImageError: it cannot be read, has no pixel that is not missing, or has more pixels than Pillow allows.
    """
    if isinstance(source, np.ndarray):
        return _rgb(Image.fromarray(np.ascontiguousarray(_squeezed(source))), missing)
    try:
        if isinstance(source, Image.Image):
            shown = _upright_rgb(source, missing)
            return shown.copy() if shown is source else shown
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if kept is not None and image.format in ("JPEG", "MPO"):
                _draft(image, kept)
            return _upright_rgb(image, missing)
    except (BadImageError, XferError, MemoryError):
        raise
    # Pillow's parsers raise whatever damaged bytes lead them to: OSError, SyntaxError, struct.error, KeyError, ...
    except Exception as error:
        raise BadImageError(_reason(error, source)) from error


def resized_size(width: int, height: int, shorter: int) -> tuple[int, int]:
    """Width and height after the shorter side becomes `shorter`, rounded as torchvision's Resize does."""
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def resize_crop(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """The network's view of an image, uint8 (S, S, 3).

    Pixel for pixel torchvision's Resize and CenterCrop on a Pillow image (antialiased).

    Raises:
        BadImageError: it is so long and thin that resizing it would not fit in memory.
    """
    width, height = resized_size(*image.size, preprocessing.resize)
    if Image.MAX_IMAGE_PIXELS and width * height > Image.MAX_IMAGE_PIXELS:
        raise BadImageError(f"too long and thin: {image.width} x {image.height} pixels")
    resized = resize(image, (width, height), preprocessing)
    size = preprocessing.size
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def resize(image: Image.Image, size: tuple[int, int], preprocessing: Preprocessing) -> Image.Image:
    """The image at (width, height), by the preprocessing's antialiased filter."""
    return image.resize(size, _FILTERS[preprocessing.interpolation])


def _draft(image: Image.Image, kept: int) -> None:
    """Have a JPEG that is not yet read decoded at a whole fraction of its size.

    Only at one without a remainder: else the image would end within its last pixel, everything would be moved by a
    part of a pixel, and sharp edges change by half the range.
    """
    width, height = image.size
    for scale in _DRAFTS:
        if min(width, height) >= scale * kept and width % scale == height % scale == 0:
            image.draft(None, (width // scale, height // scale))
            return


def _squeezed(array: np.ndarray) -> np.ndarray:
    return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array


def _upright_rgb(image: Image.Image, missing: MissingPixels) -> Image.Image:
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    rgb = _rgb(image, missing)
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    # Damaged EXIF is no reason to refuse the pixels.
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _rgb(image: Image.Image, missing: MissingPixels) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_grey8(np.asarray(image))).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the same colours as convert("RGB"), which warns
    rgb = image if image.mode == "RGB" else image.convert("RGB")  # to its own mode it would copy
    if missing == "keep" or not image.has_transparency_data:
        return rgb
    hole = np.asarray(image.convert("RGBA"))[..., 3] == 0
    if hole.all():
        raise BadImageError("every pixel is missing (alpha 0)")
    return Image.fromarray(repair(np.asarray(rgb), hole, missing))


def _grey8(grey: np.ndarray) -> np.ndarray:
    """8 bits of 16 (Pillow's mode I holds a 16-bit PGM or PNG too), or of floats in [0, 1]."""
    low, high = grey.min(), grey.max()
    top = 1.0 if grey.dtype == np.float32 else 65535.0
    if not (low >= 0 and high <= top):
        raise BadImageError(f"grey values from {low:g} to {high:g} have no known scale: save it with 8 or 16 bits")
    return np.rint(grey * (255.0 / top)).astype(np.uint8)


def _reason(error: Exception, source: Any) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return "too many pixels (Pillow's limit against decompression bombs)"
    if _is_empty(source):
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow can read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged: {error}" if str(error) else f"damaged: {type(error).__name__}"


def _is_empty(source: Any) -> bool:
    if isinstance(source, bytes):
        return not source
    return isinstance(source, Path) and source.is_file() and source.stat().st_size == 0
