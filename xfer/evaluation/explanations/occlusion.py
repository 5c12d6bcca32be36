"""Occlusion: Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks" (arXiv:1311.2901)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from xfer.errors import UsageError
from xfer.models.base_model import BaseModel
from xfer.specs.decision import softmax
from xfer.specs.inputs import Inputs
from xfer.specs.tasks import split_outputs

_PATCHES = 7  # beside each other, by default


@dataclass(frozen=True)
class Occlusion:
    """Square patches that hide a part of an image, one after the other.

    Args:
        size: of the image, in pixels.
        patch: side of a patch in pixels.
        stride: from a patch to the next, in pixels; the last of a row or column ends with the image.
        colour: uint8 (3,), what they are filled with.
    """

    size: int
    patch: int
    stride: int
    colour: np.ndarray

    @property
    def starts(self) -> list[int]:
        """First rows, and first columns, of the patches."""
        return [*range(0, self.size - self.patch, self.stride), self.size - self.patch]

    def occluded(self, image: np.ndarray) -> Iterator[np.ndarray]:
        """The image uint8 (S, S, 3) with each patch on it, row by row."""
        for row in self.starts:
            for column in self.starts:
                hidden = image.copy()
                hidden[row : row + self.patch, column : column + self.patch] = self.colour
                yield hidden

    def spread(self, drops: np.ndarray) -> np.ndarray:
        """For each pixel the mean over the patches that cover it: (N, g, g) to (N, S, S)."""
        covers = np.zeros((len(self.starts), self.size))
        for place, start in enumerate(self.starts):
            covers[place, start : start + self.patch] = 1
        total = np.einsum("nij,iy,jx->nyx", drops, covers, covers, optimize=True)
        return np.asarray(total / np.outer(covers.sum(axis=0), covers.sum(axis=0)))


def occlusion(model: BaseModel, patch: int | None, stride: int | None, fill: Any) -> Occlusion:
    """The patches for a model's images.

    Args:
        model: its image size, and the mean of its preprocessing.
        patch: pixels; None for a seventh of the image.
        stride: pixels; None for half of the patch.
        fill: a level from 0 to 255, or three for red, green and blue; None for the mean colour of the preprocessing.

    Raises:
        UsageError: a patch that is not smaller than the image, a stride that leaves pixels out, or no colour.
    """
    size = model.spec.preprocessing.size
    patch = max(size // _PATCHES, 1) if patch is None else patch
    stride = max(patch // 2, 1) if stride is None else stride
    if not 1 <= patch < size:
        raise UsageError(f"patch={patch}: give 1 to {size - 1} pixels, for images of {size}")
    if not 1 <= stride <= patch:
        raise UsageError(f"stride={stride}: give 1 to {patch} pixels, so that every pixel is covered by a patch")
    return Occlusion(size, patch, stride, _colour(model, fill))


def explain_batch(
    model: BaseModel, inputs: Inputs, occlusion: Occlusion, targets: np.ndarray, logits: np.ndarray, batch_size: int
) -> np.ndarray:
    """How far the target's probability falls when each patch is hidden, float64 (N, g, g); negative where it rises.

    Of a regression the fall of the number, in the units of the data.

    Args:
        model: the model.
        inputs: N images.
        occlusion: the patches.
        targets: int64 (N,), an output for each image.
        logits: of the images, (N, K).
        batch_size: images of a forward pass.
    """
    side, before = len(occlusion.starts), outputs(model, logits)
    drops = np.zeros((len(inputs), side * side))
    for i, target in enumerate(targets.tolist()):
        patches = occlusion.occluded(inputs.values[i])
        for start in range(0, side * side, batch_size):
            images = np.stack(list(islice(patches, batch_size)))
            columns = None if inputs.columns is None else np.repeat(inputs.columns[i : i + 1], len(images), axis=0)
            after = outputs(model, model.logits(Inputs(images, None, columns)))
            drops[i, start : start + len(images)] = before[i, target] - after[:, target]
    return drops.reshape(len(inputs), side, side)


def outputs(model: BaseModel, logits: np.ndarray) -> np.ndarray:
    """Probabilities, or numbers of a regression, in the order of the logits: float64 (N, K)."""
    if not model.tasks:
        return softmax(model.decision.scaled(logits))
    return side_by_side(model, split_outputs(model.tasks, logits))


def side_by_side(model: BaseModel, outputs: Any) -> np.ndarray:
    """What `SplitPredictions` has of a model, by task or of its one task, in the order of the logits: (N, K)."""
    return np.hstack([outputs[task.name] for task in model.tasks]) if model.tasks else np.asarray(outputs)


def _colour(model: BaseModel, fill: Any) -> np.ndarray:
    if fill is None:
        mean = np.rint(np.array(model.spec.preprocessing.mean) * 255)
        return np.asarray(np.clip(mean, 0, 255), np.uint8)
    try:
        levels = np.broadcast_to(np.asarray(fill, np.float64), (3,))
    except (TypeError, ValueError):
        levels = np.full(3, np.nan)
    if not ((levels >= 0) & (levels <= 255) & (levels == np.rint(levels))).all():
        raise UsageError(f"fill={fill!r}: give a level from 0 to 255, or three for red, green and blue")
    return np.asarray(levels, np.uint8)
