"""Random changes to training images, as pure functions of an image and a random generator."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from xfer.data.images.decode import resize, resize_crop
from xfer.data.transforms.randaugment import MAGNITUDES, randaugment
from xfer.errors import UnknownNameError, UsageError
from xfer.specs.preprocessing import Preprocessing

_RATIO = (3 / 4, 4 / 3)
_ERASED = (0.02, 0.33)
_ERASED_RATIO = (0.3, 3.3)
_ATTEMPTS = 10
_DEFAULTS: dict[str, Any] = {
    "crop": 0.35,
    "flip": True,
    "rotate": 15.0,
    "color": 0.2,
    "randaugment": (2, 9),
    "erase": 0.25,
}
_PRESETS = {
    "none": "",
    "light": "crop=0.5,flip",
    "strong": "crop,flip,color,randaugment,erase",
}


@dataclass(frozen=True)
class Augment:
    """What happens to a training image, in this order whatever order it is given in; all off by default.

    Args:
        crop: smallest share of the area that a random resized crop keeps, in (0, 1]; its sides have a ratio from
            3/4 to 4/3 (Szegedy et al. 2015). It replaces resize and center crop.
        flip: mirror left and right, every second time.
        rotate: largest angle in degrees, either way; what comes into view is black.
        color: strength c: brightness, contrast and saturation times 1 - c to 1 + c, hue moved by up to c / 4 of
            the circle, in random order (Chen et al. 2020, SimCLR).
        randaugment: number of operations and their magnitude, 0 to 30 (Cubuk et al. 2020).
        erase: probability of filling a random rectangle with noise (Zhong et al. 2020).
    """

    crop: float | None = None
    flip: bool = False
    rotate: float = 0.0
    color: float = 0.0
    randaugment: tuple[int, int] | None = None
    erase: float = 0.0

    def __post_init__(self) -> None:
        operations, magnitude = self.randaugment or (1, 0)
        for name, fits, expected in (
            ("crop", self.crop is None or 0 < self.crop <= 1, "a share in (0, 1]"),
            ("rotate", 0 <= self.rotate <= 180, "degrees from 0 to 180"),
            ("color", 0 <= self.color <= 1, "a strength from 0 to 1"),
            (
                "randaugment",
                operations >= 1 and 0 <= magnitude < MAGNITUDES,
                f"a count and a magnitude up to {MAGNITUDES - 1}, such as randaugment=2,9",
            ),
            ("erase", 0 <= self.erase <= 1, "a probability from 0 to 1"),
        ):
            if not fits:
                raise UsageError(f"augmentation {name}={getattr(self, name)}: give {expected}")

    @classmethod
    def parse(cls, spec: Augment | str | Iterable[str] | None) -> Augment:
        """The augmentation that a text or a list of texts describes.

        >>> str(Augment.parse("light,rotate=10"))
        'crop=0.5,flip,rotate=10'

        Args:
            spec: names, some with values, separated by commas: crop=0.35, flip, rotate=15, color=0.2,
                randaugment=2,9, erase=0.25, or the presets none, light (crop=0.5,flip) and strong
                (crop,flip,color,randaugment,erase). The values shown are the defaults; what comes later wins.

        Raises:
            UnknownNameError: a name that is none of these. UsageError: a value that does not fit.
        """
        if isinstance(spec, Augment):
            return spec
        text = spec if isinstance(spec, str) or spec is None else ",".join(spec)
        result = cls()
        for name, value in _items(text or ""):
            if name in _PRESETS and value is None:
                result = replace(result, **_fields(cls.parse(_PRESETS[name])))
            elif name in _DEFAULTS:
                result = replace(result, **{name: _value(name, value)})
            else:
                raise UnknownNameError("augmentation", name, [*_DEFAULTS, *_PRESETS])
        return result

    def __str__(self) -> str:
        return ",".join(_text(name, value) for name, value in _fields(self).items()) or "none"

    def __call__(self, image: Image.Image, preprocessing: Preprocessing, rng: np.random.Generator) -> np.ndarray:
        """The network's view of an RGB image, uint8 (S, S, 3); the same for the same state of `rng`."""
        prepared = self.prepare(image, preprocessing)
        return prepared if isinstance(prepared, np.ndarray) else self.randomise(prepared, preprocessing, rng)

    def prepare(self, image: Image.Image, preprocessing: Preprocessing) -> Image.Image | np.ndarray:
        """The part that is not random: the network's input, or the image that `randomise` takes."""
        if self.crop is not None and not preprocessing.resize_first:
            return image
        pixels = resize_crop(image, preprocessing)
        return pixels if self == Augment() else Image.fromarray(pixels)

    def randomise(self, image: Image.Image, preprocessing: Preprocessing, rng: np.random.Generator) -> np.ndarray:
        """What is random, done to an image that `prepare` returned, which stays as it is: uint8 (S, S, 3)."""
        if self.crop is not None:
            image = _resized_crop(image, self.crop, preprocessing, rng)
        if self.flip and rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.rotate:
            angle = rng.uniform(-self.rotate, self.rotate)
            image = image.rotate(angle, Image.Resampling.BILINEAR)
        if self.color:
            image = _jittered(image, self.color, rng)
        if self.randaugment:
            image = randaugment(image, *self.randaugment, rng)
        pixels = np.array(image)
        if self.erase and rng.random() < self.erase:
            _erase(pixels, rng)
        return pixels


def _items(text: str) -> Iterable[tuple[str, str | None]]:
    items: list[tuple[str, str | None]] = []
    for token in filter(None, (token.strip() for token in text.split(","))):
        name, equals, value = token.partition("=")
        if token.isdigit() and items and items[-1][1] is not None:
            items[-1] = (items[-1][0], f"{items[-1][1]},{token}")
        else:
            items.append((name.strip(), value.strip() if equals else None))
    return items


def _value(name: str, text: str | None) -> Any:
    default = _DEFAULTS[name]
    if text is None:
        return default
    try:
        if isinstance(default, tuple):
            count, magnitude = map(int, text.split(","))
            return count, magnitude
        if not isinstance(default, bool):
            return float(text)
    except ValueError:
        pass
    example = _text(name, default)
    raise UsageError(f"augmentation {name}={text}: give for example {example}") from None


def _fields(augment: Augment) -> dict[str, Any]:
    return {name: value for name in _DEFAULTS if (value := getattr(augment, name))}


def _text(name: str, value: Any) -> str:
    if value is True:
        return name
    numbers = value if isinstance(value, tuple) else (value,)
    return f"{name}={','.join(repr(v).removesuffix('.0') for v in numbers)}"


def _resized_crop(
    image: Image.Image, least: float, preprocessing: Preprocessing, rng: np.random.Generator
) -> Image.Image:
    left, top, width, height = _crop_box(image.width, image.height, least, rng)
    cut = image.crop((left, top, left + width, top + height))
    return resize(cut, (preprocessing.size, preprocessing.size), preprocessing)


def _crop_box(width: int, height: int, least: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, top, width and height; torchvision's RandomResizedCrop.get_params."""
    for _ in range(_ATTEMPTS):
        w, h = _rectangle(width * height, (least, 1.0), _RATIO, rng)
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
    w = min(width, max(1, round(height * _RATIO[1])))
    h = min(height, max(1, round(width / _RATIO[0])))
    return (width - w) // 2, (height - h) // 2, w, h


def _rectangle(
    area: int, share: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int]:
    """Width and height of a random share of an area, with a log-uniform ratio of width to height."""
    target = area * rng.uniform(*share)
    aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
    return round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))


def _jittered(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    low, high = 1 - strength, 1 + strength
    for change in rng.permutation(4):
        if change == 0:
            image = ImageEnhance.Brightness(image).enhance(rng.uniform(low, high))
        elif change == 1:
            image = ImageEnhance.Contrast(image).enhance(rng.uniform(low, high))
        elif change == 2:
            image = ImageEnhance.Color(image).enhance(rng.uniform(low, high))
        else:
            image = shift_hue(image, rng.uniform(-strength / 4, strength / 4))
    return image


def shift_hue(image: Image.Image, turn: float) -> Image.Image:
    """The RGB image with every hue moved by a share of the circle, as torchvision's adjust_hue does."""
    hue, saturation, value = image.convert("HSV").split()
    moved = hue.point([(level + int(turn * 255)) % 256 for level in range(256)])
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")


def _erase(pixels: np.ndarray, rng: np.random.Generator) -> None:
    height, width, channels = pixels.shape
    for _ in range(_ATTEMPTS):
        w, h = _rectangle(height * width, _ERASED, _ERASED_RATIO, rng)
        if 0 < w < width and 0 < h < height:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            noise = rng.integers(0, 256, (h, w, channels), np.uint8)
            pixels[top : top + h, left : left + w] = noise
            return
