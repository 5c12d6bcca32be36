"""Grad-CAM of a few images for a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xfer.data import Split
from xfer.errors import XferError
from xfer.models.base_model import BaseModel
from xfer.report.overlay import overlay
from xfer.report.thumbnails import data_uri

MOST = 12  # images: a backward pass for each


def overlays(model: BaseModel, split: Split, targets: Mapping[int, Any]) -> tuple[dict[int, str], str | None]:
    """Data URIs of images of a split with Grad-CAM over them, by index; and why there is none, if there is none.

    Args:
        model: of images.
        split: of images.
        targets: the output to explain of each image by its index, as `model.explain` takes it; at most `MOST`.
    """
    chosen = list(targets)[:MOST]
    if not chosen:
        return {}, None
    try:
        found = model.explain(split.subset(chosen), [targets[index] for index in chosen], on_bad="report")
    except XferError as error:
        return {}, str(error)
    return {
        index: data_uri(overlay(image, heat))
        for index, image, heat in zip(chosen, found.images, found.maps, strict=True)
        if np.isfinite(heat).all()
    }, None
