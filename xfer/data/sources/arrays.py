"""Images that are arrays in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xfer.data.corrections import Corrections, corrected
from xfer.data.dataset import Data
from xfer.data.sources.assembly import Label, Part, assemble
from xfer.data.sources.pixels import CHANNELS, as_label, as_uint8, is_torch, to_array
from xfer.data.texts import Texts
from xfer.errors import DataError, UsageError


def arrays(
    x_train: Any,
    y_train: Any,
    x_val: Any = None,
    y_val: Any = None,
    *,
    classes: Sequence[str] | None = None,
    val: float = 0.2,
    seed: int = 0,
    corrections: Corrections = None,
) -> Data:
    """Images and labels in arrays.

    Args:
        x_train: uint8 (N, H, W, 3), grey (N, H, W) or (N, H, W, 1), RGBA (N, H, W, 4) whose alpha is dropped, or
            floats in [0, 1] in these shapes, which are multiplied by 255 and rounded; NaN marks a missing pixel of a
            colour image. A torch tensor has its channels second.
        y_train: integers or strings (N,) or (N, 1). Without `classes`, the classes are their sorted values.
        x_val: validation images, as `x_train`.
        y_val: their labels.
        classes: names that integer labels index, and that string labels are among.
        val: share of train to hold out where there are no validation images.
        seed: of the hold-out.
        corrections: a CSV file of corrected labels, or labels by name; see `xfer.data.corrections.corrected`.

    Raises:
        DataError: a shape, type or range that is not one of these.
        UsageError: one of `x_val` and `y_val` without the other.
    """
    if (x_val is None) != (y_val is None):
        raise UsageError("x_val and y_val belong together: give both or neither")
    parts = {"train": array_part(x_train, y_train, "train")}
    if x_val is not None:
        parts["val"] = array_part(x_val, y_val, "val")
    notes = [note for what, x in (("train", x_train), ("val", x_val)) if (note := _holes(x, what))]
    data = assemble(parts, source="arrays", classes=classes, val=val, seed=seed, notes=notes)
    return corrected(data, corrections)


def array_part(x: Any, y: Any, what: str) -> Part:
    """One split from a batch of images and their labels; see `arrays`."""
    images, labels = to_array(x), to_array(y)
    if images.ndim == 4 and images.shape[1] in CHANNELS and is_torch(x):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 3 and not (images.ndim == 4 and images.shape[-1] in CHANNELS):
        raise DataError(f"{what} images have shape {images.shape}: {_shape_hint(images.shape)}")
    if len(images) != len(labels):
        raise DataError(f"{what} has {len(images)} images and {len(labels)} labels: give as many")
    names = Texts.of(map(str, range(len(images))))
    return Part(as_uint8(images, f"the {what} images"), _labels(labels, what), names)


def _holes(x: Any, what: str) -> str:
    """A remark on missing pixels, empty if there are none."""
    images = np.zeros(0) if x is None else to_array(x)
    if not np.issubdtype(images.dtype, np.floating) or not (holes := np.isnan(images)).any():
        return ""
    number = int(holes.any(axis=tuple(range(1, images.ndim))).sum())
    return f"{number} images in {what} have missing pixels (NaN): black, unless missing_pixels says what"


def _labels(labels: np.ndarray, what: str) -> list[Label]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return [as_label(label, what) for label in labels]


def _shape_hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and shape[1] in CHANNELS:
        return "channels come last, so give np.moveaxis(images, 1, -1)"
    return "give (N, H, W, 3) or (N, H, W)"
