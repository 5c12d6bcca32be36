"""Views of an image for test-time augmentation: the prediction is the mean over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from xfer.data.images.decode import resize, resize_crop, resized_size
from xfer.errors import UnknownNameError
from xfer.specs.preprocessing import Preprocessing

_KINDS = ("none", "flip", "five-crop", "ten-crop")
_CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))


@dataclass(frozen=True)
class TestTimeView:
    """One way to look at an image, with the face of an augmentation.

    Args:
        flip: mirrored left and right.
        corner: where in the resized image the crop lies, each axis from 0 to 1; None is the centre.
    """

    flip: bool = False
    corner: tuple[float, float] | None = None

    def prepare(self, image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
        """The network's view of an image, uint8 (S, S, 3): nothing is left to chance."""
        picture = image.transpose(Transpose.FLIP_LEFT_RIGHT) if self.flip else image
        if self.corner is None:
            return resize_crop(picture, preprocessing)
        size = preprocessing.size
        width, height = resized_size(*picture.size, preprocessing)
        left, top = (round(at * (side - size)) for at, side in zip(self.corner, (width, height), strict=True))
        return np.asarray(resize(picture, (width, height), preprocessing).crop((left, top, left + size, top + size)))

    def __str__(self) -> str:
        return "none" if self == TestTimeView() else "view"


def views_of(tta: str) -> Sequence[TestTimeView]:
    """The views that a word stands for.

    Args:
        tta: "none", the image alone; "flip", it and its mirror image; "five-crop", the centre and the four corners
            (Krizhevsky et al. 2012); "ten-crop", these and their mirror images.

    Raises:
        UnknownNameError: another word.
    """
    if tta not in _KINDS:
        raise UnknownNameError("test-time augmentation", tta, _KINDS)
    if tta == "none":
        return [TestTimeView()]
    if tta == "flip":
        return [TestTimeView(), TestTimeView(flip=True)]
    crops = [TestTimeView(), *(TestTimeView(corner=corner) for corner in _CORNERS)]
    return (
        crops if tta == "five-crop" else [TestTimeView(flip, view.corner) for flip in (False, True) for view in crops]
    )
