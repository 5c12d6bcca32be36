"""Images and labels of other libraries, converted to the forms that xfer reads. Imports none of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xfer.data.sources.assembly import Label
from xfer.errors import DataError
from xfer.runtime.remote import is_remote

CHANNELS = (1, 3, 4)


def as_picture(value: Any, what: str) -> Any:
    """What `decode` reads: a path, encoded bytes, a Pillow image or a uint8 array (H, W) or (H, W, C); or a URL.

    Args:
        value: one of these, a string (a path), a struct of bytes and path, or an array or tensor (H, W), (H, W, C)
            or (C, H, W) with 1, 3 or 4 channels. Where both ends could be channels, a torch tensor has them first
            and everything else last.
        what: name of the value in an error.

    Raises:
        DataError: anything else, or pixels that are neither uint8 nor floats in [0, 1].
    """
    if isinstance(value, (bytes, Image.Image)):
        return value
    if isinstance(value, str) and is_remote(value):
        return value
    if isinstance(value, (str, os.PathLike)):
        return Path(value)
    if isinstance(value, Mapping) and "bytes" in value:
        return value["bytes"] or Path(value["path"])
    if not hasattr(value, "shape"):
        kind = type(value).__name__
        raise DataError(f"{what} is a {kind}: give a path, a Pillow image, bytes or an array")
    array = as_uint8(to_array(value), what)
    return array if array.ndim == 2 else _channels_last(array, is_torch(value), what)


def as_label(value: Any, what: str) -> Label:
    """An integer or a string.

    Raises:
        DataError: anything else, such as a one-hot vector.
    """
    if getattr(value, "shape", None) == () or isinstance(value, np.generic):
        value = to_array(value).item()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (str, int)):
        return int(value) if isinstance(value, bool) else value
    if np.ndim(value):
        raise DataError(f"label of {what} has shape {np.shape(value)}: give one class an image (argmax of one-hot)")
    raise DataError(f"label of {what} is {value!r}: give an integer or a string")


def as_uint8(array: np.ndarray, what: str) -> np.ndarray:
    """uint8 as it is; floats in [0, 1] times 255, rounded.

    Of colours (..., 3) with NaN among the floats, the fourth channel of the result is 0 where a pixel is missing.

    Raises:
        DataError: any other type or range.
    """
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"pixels of {what} are {array.dtype}: convert them to uint8, 0 to 255")
    hole = np.isnan(array)
    if hole.any():
        if array.ndim < 3 or array.shape[-1] != 3:
            raise DataError(f"pixels of {what} are NaN: give colours (..., 3), in which a missing pixel can be marked")
        gone = hole.any(axis=-1, keepdims=True)
        colours = as_uint8(np.where(gone, 0, array), what)
        return np.concatenate([colours, np.where(gone, 0, 255).astype(np.uint8)], axis=-1)
    low, high = array.min(initial=0), array.max(initial=0)
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"pixels of {what} are floats from {low:g} to {high:g}: give uint8 (0 to 255) or floats in "
            "[0, 1], not normalised (the model does that)"
        )
    return np.asarray(np.rint(array * 255), np.uint8)


def to_array(value: Any) -> np.ndarray:
    """A NumPy array of an array or tensor, on whatever device it lies."""
    if is_torch(value):
        value = value.detach().cpu()
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def is_torch(value: Any) -> bool:
    """Whether this is a torch tensor, told by its methods."""
    return hasattr(value, "detach") and hasattr(value, "cpu")


def _channels_last(array: np.ndarray, torch: bool, what: str) -> np.ndarray:
    first, last = (array.ndim == 3 and array.shape[axis] in CHANNELS for axis in (0, -1))
    if first and (torch or not last):
        return array.transpose(1, 2, 0)
    if last:
        return array
    raise DataError(f"{what} has shape {array.shape}: give (H, W), (H, W, 3) or (3, H, W)")
