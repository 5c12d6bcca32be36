"""Learned position embeddings and tables of relative positions for other sizes than they were trained for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

TABLE = "relative_position_bias_table"


@dataclass(frozen=True)
class Resized:
    """Tensors, and the grids of those that were resized.

    Args:
        arrays: by name.
        grids: by name, the number of patches a side before and after.
    """

    arrays: dict[str, np.ndarray]
    grids: dict[str, tuple[int, int]]


def resized(
    arrays: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    positions: Mapping[str, int],
    windows: bool = False,
) -> Resized:
    """The tensors with position embeddings and tables of the shapes that a model has, resized as timm does.

    Args:
        arrays: by canonical name.
        shapes: of the model.
        positions: names of position embeddings (1, prefix + side * side, D), with the number of prefix tokens, which
            keep theirs. What is no embedding of a square grid stays as it is.
        windows: resize tables of relative positions too.
    """
    found, grids = dict(arrays), {}
    for name in sorted(shapes.keys() & arrays.keys()) if windows else ():
        table, wanted = arrays[name], shapes[name]
        if name.endswith(TABLE) and table.ndim == 2 and table.shape != wanted and table.shape[1:] == wanted[1:]:
            before, after = math.isqrt(len(table)), math.isqrt(wanted[0])
            if before % 2 and before**2 == len(table):
                found[name] = resize_table(table, (after + 1) // 2)
                grids[name] = (before + 1) // 2, (after + 1) // 2
    for name, prefix in positions.items():
        old, new = arrays.get(name), shapes.get(name)
        if old is None or new is None or old.ndim != 3 or old.shape == new or old.shape[::2] != new[::2]:
            continue
        before, after = math.isqrt(max(old.shape[1] - prefix, 0)), math.isqrt(new[1] - prefix)
        if before and before**2 == old.shape[1] - prefix:
            found[name] = resize_positions(old, after, prefix)
            grids[name] = (before, after)
    return Resized(found, grids)


def resize_positions(embedding: np.ndarray, side: int, prefix: int = 0) -> np.ndarray:
    """Position embeddings for `side` x `side` patches: `resample_abs_pos_embed` of timm.

    Args:
        embedding: (1, prefix + before * before, D).
        side: patches a side.
        prefix: tokens before the patches, whose embeddings stay as they are.

    Returns:
        (1, prefix + side * side, D), of the same type (float16 becomes float32), computed in float64.
    """
    dtype = np.float32 if embedding.dtype == np.float16 else embedding.dtype
    before, width = math.isqrt(embedding.shape[1] - prefix), embedding.shape[2]
    grid = embedding[0, prefix:].reshape(before, before, width).astype(np.float64)
    weights = bicubic(before, side)
    resized_grid = np.einsum("ir,jc,rcd->ijd", weights, weights, grid, optimize=True)
    return np.concatenate([embedding[:, :prefix], resized_grid.reshape(1, -1, width)], axis=1).astype(dtype)


def resize_table(table: np.ndarray, window: int) -> np.ndarray:
    """Biases of relative positions for another window: `resize_rel_pos_bias_table` of timm (of BEiT, arXiv:2106.08254).

    Offsets of the old window are spread over those of the new one in a geometric progression, dense around 0, and what
    is between them is interpolated linearly.

    Args:
        table: ((2 before - 1)^2, heads).
        window: side of the new window in places.

    Returns:
        ((2 window - 1)^2, heads), of the same type (float16 becomes float32), computed in float64.
    """
    dtype = np.float32 if table.dtype == np.float16 else table.dtype
    before, after = math.isqrt(len(table)), 2 * window - 1
    offsets = np.arange(after) - float(after // 2)
    weights = _linear(_spread(before, after), offsets)
    grid = table.reshape(before, before, -1).astype(np.float64)
    resized_grid = np.einsum("ir,jc,rch->ijh", weights, weights, grid, optimize=True)
    return np.asarray(resized_grid.reshape(after**2, -1), dtype)


def _spread(before: int, after: int) -> np.ndarray:
    """Where the old offsets lie among the new: 0, and to both sides sums of powers of a ratio, found by bisection."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        low, high = (low, ratio) if (1 - ratio ** (before // 2)) / (1 - ratio) > after // 2 else (ratio, high)
    side = np.cumsum(ratio ** np.arange(before // 2))
    return np.concatenate([-side[::-1], [0.0], side])


def _linear(points: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Weights (len(x), len(points)) of a linear interpolation; beyond the last point its value holds."""
    right = np.clip(np.searchsorted(points, x), 0, len(points) - 1)
    left = np.clip(right - 1, 0, None)
    from_left, from_right = np.maximum(x - points[left], 0), np.maximum(points[right] - x, 0)
    share = np.where(from_left + from_right > 0, from_left / np.maximum(from_left + from_right, 1e-300), 1.0)
    weights = np.zeros((len(x), len(points)))
    np.add.at(weights, (np.arange(len(x)), left), 1 - share)
    np.add.at(weights, (np.arange(len(x)), right), share)
    return weights


def bicubic(before: int, after: int) -> np.ndarray:
    """Weights (after, before), float64, of one axis of torch's `interpolate(mode="bicubic", antialias=True)`.

    Keys's cubic with a = -1/2 (Keys 1981, "Cubic convolution interpolation for digital image processing"), stretched
    where the axis shrinks; pixel centres are half a pixel from the edge, and weights beyond it are left out.
    """
    scale = before / after
    stretch = max(scale, 1.0)
    centres = (np.arange(after)[:, None] + 0.5) * scale
    first = np.maximum((centres - 2 * stretch + 0.5).astype(int), 0)
    last = np.minimum((centres + 2 * stretch + 0.5).astype(int), before)
    places = np.arange(before)[None]
    x = np.abs(places + 0.5 - centres) / stretch
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0)) * ((places >= first) & (places < last))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
