"""From a file to the pixels that every backend sees."""

from __future__ import annotations

import io
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

# The readers of `FORMATS`: what is imported is known to Pillow, which else imports all of its own to look for one.
from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)
from PIL.Image import Transpose

from xfer.data.images.canvas import canvas
from xfer.data.images.formats import FORMATS, HEAD, why_not
from xfer.data.images.repair import repair
from xfer.errors import XferError
from xfer.specs.preprocessing import MissingPixels, Preprocessing
from xfer.specs.resampling import bilinear

Source = Path | bytes | np.ndarray | Image.Image

MAX_PIXELS = 178_956_970  # from which on Pillow itself refuses: 512 MiB in 24-bit RGB. Not read from its global.
MAX_BYTES = 2**31  # some readers take in the whole file
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
    "nearest": Image.Resampling.NEAREST,
}
_STRIP = 2**22  # pixels that are scaled at once
_silence = threading.Lock()


class BadImageError(Exception):
    """An image that cannot be read; a loader leaves it out and says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decode(source: Source, missing: MissingPixels = "keep", kept: int | None = None) -> Image.Image:
    """An upright 8-bit RGB image.

    The EXIF orientation is applied. Palettes, grey and CMYK are converted by Pillow; alpha is dropped, as
    `convert("RGB")` and so torchvision do, unless `missing` says what pixels of alpha 0 become; 16-bit grey is scaled
    by 1/257, not clipped, and so are 32-bit TIFFs, those whose values end at 255 as they are. Of an animation it is the
    first frame.

    Files are read if they are of one of `FORMATS`, whatever their name, and have at most `MAX_BYTES` bytes and
    `MAX_PIXELS` pixels, which the header says before anything is decoded. What is cut off or damaged is refused, and
    warnings of Pillow change nothing, even where they have been made errors.

    Args:
        source: a path, an encoded file, a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a Pillow image.
        missing: what becomes of pixels whose alpha is 0, see `xfer.Preprocessing`.
        kept: pixels that a JPEG's shorter side keeps at least, where decoding may make the file's image smaller; see
            "draft" of `xfer.Preprocessing`. None decodes every pixel.

    Raises:
        BadImageError: it cannot be read, has no pixel that is not missing, is of another format or too large.
    """
    return read(source, missing, kept)[0]


def read(source: Source, missing: MissingPixels = "keep", kept: int | None = None) -> tuple[Image.Image, str, str]:
    """What `decode` gives; the file's format, such as "JPEG", or "pixels"; and Pillow's mode, as stored.

    Raises:
        BadImageError: as `decode`.
    """
    if isinstance(source, np.ndarray):
        pixels = Image.fromarray(np.ascontiguousarray(_squeezed(source)))
        return _rgb(pixels, missing), "pixels", pixels.mode
    try:
        try:
            if ImageFile.LOAD_TRUNCATED_IMAGES:  # someone has made what is cut off readable, in the whole process
                with _silence, _refusing_truncated():
                    return _read(source, missing, kept)
            return _read(source, missing, kept)
        except Warning:  # someone has made warnings errors, and what can be read must not depend on that
            with _silence, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _read(source, missing, kept)
    except (BadImageError, XferError, MemoryError):
        raise
    # Pillow's parsers raise whatever damaged bytes lead them to: OSError, SyntaxError, struct.error, KeyError, ...
    except Exception as error:
        raise BadImageError(_reason(error)) from error


@contextmanager
def _refusing_truncated() -> Iterator[None]:
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def opened(path: Path) -> BinaryIO:
    """A file to read images from; never a pipe, a device or a folder, on which reading could wait for ever.

    Raises:
        BadImageError: it is no file, or too long. OSError: it is not there, or may not be read.
    """
    try:
        about = path.stat()
    except FileNotFoundError:
        raise BadImageError(
            "a link to something that is not there" if path.is_symlink() else "there is no such file"
        ) from None
    if not stat.S_ISREG(about.st_mode):
        raise BadImageError(
            "a folder, not a file" if stat.S_ISDIR(about.st_mode) else "a pipe, socket or device, not a file"
        )
    if about.st_size > MAX_BYTES:
        raise BadImageError(f"too long: {about.st_size:,} bytes, of at most {MAX_BYTES:,}; save it smaller")
    return path.open("rb")


def resized_size(width: int, height: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """Width and height after the resize, rounded as torchvision's Resize does."""
    shorter = preprocessing.resize
    if preprocessing.squash:
        return shorter, shorter
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def resize_crop(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """The network's view of an image, uint8 (S, S, 3).

    Pixel for pixel torchvision's Resize and CenterCrop on a Pillow image, where the preprocessing antialiases.

    Raises:
        BadImageError: it is so long and thin that resizing it would not fit in memory.
    """
    width, height = resized_size(*image.size, preprocessing)
    if width * height > MAX_PIXELS:
        raise BadImageError(f"too long and thin: {image.width} x {image.height} pixels")
    resized = resize(image, (width, height), preprocessing)
    size = preprocessing.size
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def resize(image: Image.Image, size: tuple[int, int], preprocessing: Preprocessing) -> Image.Image:
    """The image at (width, height), by the preprocessing's filter."""
    if not preprocessing.antialias and preprocessing.interpolation == "bilinear":
        return Image.fromarray(np.rint(bilinear(np.asarray(image), size[1], size[0])).astype(np.uint8))
    return image.resize(size, _FILTERS[preprocessing.interpolation])


def _read(source: Path | bytes | Image.Image, missing: MissingPixels, kept: int | None) -> tuple[Image.Image, str, str]:
    if isinstance(source, Image.Image):
        form, mode = source.format, source.mode
        if form is not None:  # it is of a file, which may not have been decoded yet
            if form not in (*FORMATS, "MPO"):
                raise BadImageError(f"of format {form}, which xfer does not read: hand over a copy() of it")
            _check(source.size)
        shown = _upright_rgb(source, missing)
        return shown.copy() if shown is source else shown, form or "pixels", mode
    # A file object, not its path: Pillow would map the file into memory, and die when it becomes shorter meanwhile.
    with io.BytesIO(source) if isinstance(source, bytes) else opened(Path(source)) as file:
        head = file.read(HEAD)
        if not head:
            raise BadImageError("the file is empty")
        file.seek(0)
        if (size := canvas(file)) is not None:
            _check(size)
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            raise BadImageError(why_not(head)) from None
        with image:
            _check(image.size)
            form, mode = image.format or "unknown", image.mode
            if kept is not None and form in ("JPEG", "MPO"):
                _draft(image, kept)
            return _upright_rgb(image, missing), form, mode


def _check(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise BadImageError(_too_many(size[0] * size[1], MAX_PIXELS))


def _too_many(pixels: int, most: int) -> str:
    return f"too many pixels: {pixels:,}, of at most {most:,}; save it smaller"


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
    except Warning:
        raise
    except Exception:
        return 1


def _rgb(image: Image.Image, missing: MissingPixels) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_grey8(np.asarray(image), wide=image.format == "TIFF")).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the same colours as convert("RGB"), which warns
    rgb = image if image.mode == "RGB" else image.convert("RGB")  # to its own mode it would copy
    if missing == "keep" or not image.has_transparency_data:
        return rgb
    hole = np.asarray(image.convert("RGBA"))[..., 3] == 0
    if hole.all():
        raise BadImageError("every pixel is missing (alpha 0)")
    return Image.fromarray(repair(np.asarray(rgb), hole, missing))


def _grey8(grey: np.ndarray, *, wide: bool) -> np.ndarray:
    """8 bits of 16 (Pillow's mode I holds a 16-bit PGM or PNG too), or of floats in [0, 1].

    A TIFF with 32 bits a pixel says nothing of its scale: values up to 255 are of 8 bits, whole or not.
    """
    low, high = grey.min(), grey.max()
    top = 1.0 if grey.dtype == np.float32 else 65535.0
    if wide and grey.dtype.itemsize == 4 and 1 < high <= 255:
        top = 255.0
    if not (low >= 0 and high <= top):
        raise BadImageError(f"grey values from {low:g} to {high:g} have no known scale: save it with 8 or 16 bits")
    found = np.empty(grey.shape, np.uint8)
    rows = max(_STRIP // grey.shape[1], 1)
    for start in range(0, len(grey), rows):  # in strips, for floats take eight times the room
        found[start : start + rows] = np.rint(grey[start : start + rows] * (255.0 / top))
    return found


def _reason(error: Exception) -> str:
    # Pillow looks first, at a limit of its own, which is the same unless someone has set it lower.
    if isinstance(error, Image.DecompressionBombError) and (count := re.search(r"\((\d+) pixels\)", str(error))):
        return _too_many(int(count[1]), 2 * (Image.MAX_IMAGE_PIXELS or 0))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = str(error) or type(error).__name__
    unknown = said.lower().startswith(("unsupported", "decoder error", "unknown"))
    return f"damaged, or of an unknown kind: {said}" if unknown else f"damaged: {said}"
