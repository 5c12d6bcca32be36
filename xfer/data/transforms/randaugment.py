"""RandAugment (Cubuk et al. 2020), with torchvision's operations and magnitudes, on Pillow images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

MAGNITUDES = 31

Operation = Callable[[Image.Image, float], Image.Image]


def randaugment(image: Image.Image, operations: int, magnitude: int, rng: np.random.Generator) -> Image.Image:
    """The RGB image after random operations.

    Args:
        image: RGB.
        operations: how many, drawn with replacement.
        magnitude: strength of each, 0 to 30; its sign is random where there is one.
        rng: what draws them.
    """
    for _ in range(operations):
        name = list(OPERATIONS)[rng.integers(len(OPERATIONS))]
        sign = -1.0 if name in SIGNED and rng.random() < 0.5 else 1.0
        image = OPERATIONS[name](image, sign * magnitude / (MAGNITUDES - 1))
    return image


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=(0, 0, 0))


def _posterize(image: Image.Image, level: float) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(level * 4))


# Each takes the image and a level in [-1, 1], or [0, 1] where it has no sign.
OPERATIONS: dict[str, Operation] = {
    "Identity": lambda image, _: image,
    "ShearX": lambda image, level: _affine(image, 1, 0.3 * level, 0, 0, 1, 0),
    "ShearY": lambda image, level: _affine(image, 1, 0, 0, 0.3 * level, 1, 0),
    "TranslateX": lambda image, level: _affine(image, 1, 0, -int(level * 150 / 331 * image.width), 0, 1, 0),
    "TranslateY": lambda image, level: _affine(image, 1, 0, 0, 0, 1, -int(level * 150 / 331 * image.height)),
    "Rotate": lambda image, level: image.rotate(30 * level, Image.Resampling.BILINEAR),
    "Brightness": lambda image, level: ImageEnhance.Brightness(image).enhance(1 + 0.9 * level),
    "Color": lambda image, level: ImageEnhance.Color(image).enhance(1 + 0.9 * level),
    "Contrast": lambda image, level: ImageEnhance.Contrast(image).enhance(1 + 0.9 * level),
    "Sharpness": lambda image, level: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * level),
    "Posterize": _posterize,
    "Solarize": lambda image, level: ImageOps.solarize(image, 255 - 255 * level),  # type: ignore[arg-type]
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
}
SIGNED = frozenset(OPERATIONS) - {"Identity", "Posterize", "Solarize", "AutoContrast", "Equalize"}
