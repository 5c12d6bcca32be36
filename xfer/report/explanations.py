"""Grad-CAM of a few images for a page."""

from __future__ import annotations

from collections.abc import Sequence

from xfer.data import Split
from xfer.models.base_model import BaseModel


def overlays(model: BaseModel, split: Split, indices: Sequence[int]) -> tuple[dict[int, str], str | None]:
    """Data URIs of images of a split with Grad-CAM of their predicted class over them, or why there is none."""
    return {}, None
