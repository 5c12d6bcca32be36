"""An image with a map of its places over it, in colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

# Every 15th colour of matplotlib's "inferno" (CC0), which is perceptually uniform: lightness grows with the number, so
# that it works in grey and for the colour-blind. Between them colours are interpolated.
_INFERNO = (
    "000004 0a0722 1e0c45 380962 510e6c 69166e 801f6c 982766 b0315b c63d4d d94d3d e9612b f47918 fa9407 fcb014 f8cd37 "
    "f2ea69 fcffa4"
)
_LEAST, _MOST = 0.25, 0.75  # opacity of the colours of 0 and of 1: the image is seen everywhere


def overlay(image: Any, heat: np.ndarray) -> Image.Image:
    """An image, darker where the map is 0 and yellow where it is 1.

    Args:
        image: uint8 (H, W, 3), or a Pillow image: one of `Explanations.images`, on which the maps lie. A photo of
            another size is resized and cropped before the network reads it, and a map does not lie on it.
        heat: float (H, W), 0 to 1: one of `Explanations.maps`.

    Raises:
        UsageError: an image of another size than the map, or a map that is not between 0 and 1.
    """
    from PIL import Image

    pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
    if pixels.dtype != np.uint8 or pixels.shape != (*np.shape(heat), 3):
        given = f"{pixels.dtype} {pixels.shape} and a map {np.shape(heat)}"
        raise UsageError(f"an overlay was given an image {given}: expected uint8 (H, W, 3) and (H, W)")
    if not ((heat >= 0) & (heat <= 1)).all():
        raise UsageError("an overlay was given a map that is not between 0 and 1, or of an image that cannot be read")
    opacity = (_LEAST + (_MOST - _LEAST) * np.asarray(heat, np.float64))[..., None]
    return Image.fromarray(np.rint(pixels * (1 - opacity) + colours(heat) * opacity).astype(np.uint8))


def colours(heat: np.ndarray) -> np.ndarray:
    """Red, green and blue, 0 to 255, of numbers (...) from 0 to 1: float64 (..., 3)."""
    known = np.array([list(bytes.fromhex(code)) for code in _INFERNO.split()], np.float64)
    places = np.linspace(0, 1, len(known))
    return np.stack([np.interp(heat, places, known[:, channel]) for channel in range(3)], axis=-1)


def gradient() -> str:
    """The colours as a gradient of CSS, from 0 on the left to 1 on the right."""
    return f"linear-gradient(90deg, {', '.join(f'#{code}' for code in _INFERNO.split())})"
