"""Mixup and CutMix: two images blended into one, with their labels in the same shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xfer.errors import UnknownNameError, UsageError

_DEFAULTS = {"mixup": 0.2, "cutmix": 1.0}


@dataclass(frozen=True)
class Mix:
    """How the images of a batch are mixed, each with another of the batch; 0 is off.

    The share that an image keeps is drawn from Beta(a, a) once a batch. Where both are on, each batch draws which.

    Args:
        mixup: a of Mixup, which blends two images (Zhang et al. 2018, arXiv:1710.09412); pixels are rounded.
        cutmix: a of CutMix, which pastes a rectangle of one into the other (Yun et al. 2019, arXiv:1905.04899).
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in _DEFAULTS:
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name}={getattr(self, name)}: give 0 or more, such as {name}={_DEFAULTS[name]}")

    @classmethod
    def parse(cls, text: str | Mix | None) -> Mix:
        """What a text describes: "none", "mixup", "mixup=0.4", "mixup,cutmix=0.5".

        Raises:
            UnknownNameError, UsageError: it cannot be read.
        """
        if isinstance(text, Mix):
            return text
        found: dict[str, float] = {}
        for part in (text or "none").split(","):
            name, _, value = part.strip().partition("=")
            if name == "none":
                continue
            if name not in _DEFAULTS:
                raise UnknownNameError("mix", name, _DEFAULTS)
            try:
                found[name] = float(value) if value else _DEFAULTS[name]
            except ValueError:
                raise UsageError(f"mix {part!r}: give a number, such as {name}={_DEFAULTS[name]}") from None
        return cls(**found)

    def __bool__(self) -> bool:
        return bool(self.mixup or self.cutmix)

    def __str__(self) -> str:
        return ",".join(f"{name}={getattr(self, name):g}" for name in _DEFAULTS if getattr(self, name)) or "none"

    def __call__(
        self, images: np.ndarray, shares: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mixed images, of the type given, and the shares of classes (N, K) that belong to them.

        Args:
            images: uint8 (N, S, S, 3), or features (N, ...), which are blended without rounding and never cut.
            shares: float64 (N, K), one-hot for a label; a row of NaN, which has none, makes NaN of what it touches.
            rng: draws partners, shares and rectangles.
        """
        partner = self.partners(len(images), rng)
        return self.blend(images, images[partner], shares, partner, rng)

    def partners(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """With which image of the batch each of so many is mixed, int64 (N,); drawn before anything else."""
        return rng.permutation(number)

    def blend(
        self, images: np.ndarray, others: np.ndarray, shares: np.ndarray, partner: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `__call__`, of any part of a batch.

        Args:
            images: of the part, (n, ...), n may be 0.
            others: the partners of these images, (n, ...).
            shares: of the whole batch, (N, K).
            partner: int64 (N,), what `partners` has drawn.
            rng: which has drawn it.
        """
        cut = bool(self.cutmix) and (not self.mixup or rng.random() < 0.5)
        kept = float(rng.beta(*(self.cutmix if cut else self.mixup,) * 2))
        if cut:
            images, kept = _paste(images, others, kept, rng)
        else:
            blend = kept * images.astype(np.float64) + (1 - kept) * others
            images = (np.rint(blend) if images.dtype == np.uint8 else blend).astype(images.dtype)
        return images, np.asarray(kept * shares + (1 - kept) * shares[partner])


def _paste(images: np.ndarray, others: np.ndarray, kept: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A rectangle of sides sqrt(1 - kept), cut at the border, around a random pixel; what share was kept in the end."""
    height, width = images.shape[1:3]
    side = np.sqrt(1 - kept)
    y, x = rng.integers(height), rng.integers(width)
    half = round(side * height / 2), round(side * width / 2)
    top, bottom = max(y - half[0], 0), min(y + half[0], height)
    left, right = max(x - half[1], 0), min(x + half[1], width)
    mixed = images.copy()
    mixed[:, top:bottom, left:right] = others[:, top:bottom, left:right]
    return mixed, float(1 - (bottom - top) * (right - left) / (height * width))


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Shares float64 (N, K) of labels int64 (N,); NaN for a label below 0, which is none."""
    shares = np.eye(classes, dtype=np.float64)[np.maximum(labels, 0)]
    return np.where((labels < 0)[:, None], np.nan, shares)
