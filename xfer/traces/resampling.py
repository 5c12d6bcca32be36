"""Which interpolation has made an image of a raw one: those of Pillow, Keras, OpenCV and torch, tried in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from xfer.specs.resampling import bilinear, nearest
from xfer.traces.view import Array

_PILLOW = {
    "Pillow's bilinear, antialiased": Image.Resampling.BILINEAR,
    "Pillow's bicubic, antialiased": Image.Resampling.BICUBIC,
    "Pillow's Lanczos, antialiased": Image.Resampling.LANCZOS,
    "the mean of the area": Image.Resampling.BOX,
}


def candidates(image: Array, size: tuple[int, int]) -> Iterator[tuple[str, Array]]:
    """Versions (H, W, 3) of an image (H, W, 3) of bytes: resized, or resized and cropped in the centre."""
    height, width = int(image.shape[0]), int(image.shape[1])
    short = min(height, width)
    shapes = {"": size}
    for side in (size[0], round(size[0] / 0.875)):
        scaled = (max(round(height * side / short), size[0]), max(round(width * side / short), size[1]))
        shapes[f" of the shorter side to {side}, cropped"] = scaled
    for said, (h, w) in shapes.items():
        top, left = (h - size[0]) // 2, (w - size[1]) // 2

        def cropped(x: Array, top: int = top, left: int = left) -> Array:
            return x[top : top + size[0], left : left + size[1]]

        if said and (h, w) == size:
            continue
        for name, method in _PILLOW.items():
            yield name + said, cropped(np.asarray(Image.fromarray(image).resize((w, h), method), np.float64))
        yield "nearest, of pixel centres" + said, cropped(nearest(image, h, w, 0.5))
        yield "nearest, of pixel corners" + said, cropped(nearest(image, h, w, 0.0))
        yield "bilinear without antialiasing" + said, cropped(bilinear(image, h, w))


def recognise(raw: Sequence[Array], x: Array) -> str:
    """The version of raw images that an input (N, 3, H, W) is, but for gain and shift of the channels; "" for none."""
    size, n = (x.shape[2], x.shape[3]), min(len(raw), len(x))
    left: dict[str, list[float]] = {}
    for image, found in zip(raw[:n], x[:n], strict=True):
        for name, version in candidates(image, size):
            left.setdefault(name, []).append(_left(found, version.transpose(2, 0, 1)))
    if not left:
        return ""
    best = min(left, key=lambda name: float(np.sum(left[name])))
    return best if max(left[best]) < 0.02 else ""


def _left(a: Array, b: Array) -> float:
    """Which part of the variation of a the best linear fit of b leaves, the worst channel."""
    worst = 0.0
    for ours, theirs in zip(a, b, strict=True):
        y, x = ours.ravel() - ours.mean(), theirs.ravel() - theirs.mean()
        gain = float(x @ y) / max(float(x @ x), 1e-300)
        worst = max(worst, float(np.linalg.norm(y - gain * x)) / max(float(np.linalg.norm(y)), 1e-300))
    return worst
