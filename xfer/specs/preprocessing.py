"""How an image becomes the input of a network."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from xfer.errors import UnknownNameError, UsageError, check_name

Interpolation = Literal["bilinear", "bicubic", "nearest"]

MissingPixels = Literal["keep", "mean", "neighbours", "inpaint"]

Decoding = Literal["full", "draft"]

LARGEST = 4096  # pixels of an input's side


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes network input.

    The shorter side is resized to `resize` pixels (Pillow, antialiased), the central `size` x `size` square is
    cut out as uint8, and the model computes `(pixel / 255 - mean) / std` on its device. With `squash` both sides are
    resized to `resize` pixels, whatever their ratio: nothing is cut off where it is `size`.

    Without `antialias`, a bilinear resize is that of `tf.image.resize`, rounded to whole levels; "nearest" has none.
    With `resize_first`, a random crop is drawn from the resized square and not from the whole image.

    Pixels whose alpha is 0 are missing; `missing` says what they become before the resize. "keep": the colour that the
    file has there. "mean": the mean colour of the others. "neighbours": the nearest of the others. "inpaint": a smooth
    surface through the edge of the hole.

    `decode` says how JPEG files are decoded. "full": every pixel. "draft": at 1/8, 1/4 or 1/2 of their size, the least
    that leaves the shorter side twice `resize` or more, where that divides both sides without a remainder, as it does
    in what cameras write. Large files take a half to a quarter of the time, and pixels change a little, equally on
    every backend: in 200 photographs of ants and bees by 0.5 levels of 255 in the mean, by 1.4 in the worst one, at no
    pixel by more than 16; enlarged, with the noise of a camera, by 0.3, 0.5 and 6. A random crop is drawn from what is
    left.
    """

    size: int
    resize: int
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    missing: MissingPixels = "keep"
    decode: Decoding = "full"
    squash: bool = False
    antialias: bool = True
    resize_first: bool = False

    def __post_init__(self) -> None:
        if self.missing not in get_args(MissingPixels):
            raise UnknownNameError("missing pixels", self.missing, get_args(MissingPixels))
        check_name("decode", self.decode, get_args(Decoding))
        if self.interpolation == "bicubic" and not self.antialias:
            raise UsageError("antialias=False goes with interpolation='bilinear': a bicubic resize is antialiased")
        if not (1 <= self.size <= LARGEST and 1 <= self.resize <= 2 * LARGEST):
            raise UsageError(f"image size {self.size}, resized from {self.resize}: give at most {LARGEST:,} pixels")

    @property
    def kept(self) -> int | None:
        """Pixels that decoding leaves the shorter side at least; None for all there are."""
        return None if self.decode == "full" else 2 * self.resize

    def described(self) -> dict[str, Any]:
        """All fields by name, for digests: newer ones only where they are not their default, so that old ones hold."""
        newer = {"squash": False, "antialias": True, "resize_first": False}
        return {name: value for name, value in asdict(self).items() if name not in newer or value != newer[name]}

    def at(self, size: int) -> Preprocessing:
        """The same preprocessing for another input size in pixels, keeping the ratio of resize to crop."""
        if size < 8:
            raise UsageError(f"image size {size} is too small: give at least 8 pixels")
        return replace(self, size=size, resize=max(size, round(size * self.resize / self.size)))
