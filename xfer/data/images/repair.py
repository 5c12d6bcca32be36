"""Missing pixels, which have alpha 0: left as they are, or filled in from the others."""

from __future__ import annotations

import numpy as np

from xfer.errors import XferError
from xfer.specs.preprocessing import MissingPixels


def repair(pixels: np.ndarray, missing: np.ndarray, how: MissingPixels) -> np.ndarray:
    """uint8 (H, W, 3) with the missing pixels filled in; the others are unchanged.

    Args:
        pixels: uint8 (H, W, 3).
        missing: bool (H, W), not all true.
        how: "keep" changes nothing. "mean" takes the mean colour of what is there, "neighbours" the nearest pixel that
            is, "inpaint" the biharmonic surface through the border of each hole (Damelin & Hoang 2018).

    Raises:
        XferError: "inpaint" without scikit-image.
    """
    if how == "keep" or not missing.any():
        return pixels
    filled = pixels.copy()
    if how == "mean":
        filled[missing] = np.rint(pixels[~missing].mean(axis=0))
    elif how == "neighbours":
        from scipy.ndimage import distance_transform_edt

        nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
        filled = pixels[tuple(nearest)]
    else:
        filled[missing] = _inpainted(pixels, missing)[missing]
    return filled


def _inpainted(pixels: np.ndarray, missing: np.ndarray) -> np.ndarray:
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError:
        raise XferError('inpainting needs scikit-image: pip install "xfer-learn[inpaint]"') from None
    surface = inpaint_biharmonic(pixels / 255.0, missing, channel_axis=-1, split_into_regions=True)
    return np.asarray(np.rint(np.clip(surface, 0, 1) * 255), np.uint8)
