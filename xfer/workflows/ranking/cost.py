"""What a forward pass costs."""

from __future__ import annotations

import time

import numpy as np

from xfer.models.base_model import BaseModel

_BATCHES, _SECONDS = 5, 1.0  # at the most, once there are two


def seconds_per_image(model: BaseModel, batch_size: int) -> float:
    """The median time of a forward pass up to the features, in seconds for each image.

    Measured anew each time, whether features were in the cache or not: two to five batches of random pixels after one
    that is not counted. Reading and decoding images is not in it.
    """
    size = model.spec.preprocessing.size
    images = np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), np.uint8)
    model.stage(images, "features")
    found: list[float] = []
    while len(found) < 2 or (len(found) < _BATCHES and sum(found) < _SECONDS):
        began = time.perf_counter()
        model.stage(images, "features")
        found.append(time.perf_counter() - began)
    return float(np.median(found)) / batch_size
