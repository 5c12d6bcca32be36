"""The reliability diagram and the expected calibration error.

Guo, Pleiss, Sun, Weinberger: On calibration of modern neural networks, 2017 (arXiv:1706.04599).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15  # as in the paper


@dataclass(frozen=True)
class Reliability:
    """Images in bins of equal width by confidence, the bin i of B holding ((i - 1) / B, i / B], the first also 0.

    Args:
        images: int64 (B,), how many each bin holds.
        confidence: float64 (B,), mean confidence of a bin, 0 where it is empty.
        accuracy: float64 (B,), share of right predictions in a bin, 0 where it is empty.
    """

    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    def __repr__(self) -> str:
        images = int(self.images.sum())
        return f"Reliability({images:,} images in {len(self.images)} bins, calibration error {self.error:.4f})"

    @property
    def error(self) -> float:
        """Expected calibration error: the mean over images of |accuracy - confidence| of their bin; 0 is perfect."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float((self.images * gaps).sum() / self.images.sum())


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Sort predictions into bins by confidence.

    Args:
        confidence: (N,), probability of the predicted class, N at least 1.
        correct: bool (N,).
        bins: how many, at least 1.
    """
    place = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    images = np.bincount(place, minlength=bins)
    full = np.maximum(images, 1)
    return Reliability(
        images=images,
        confidence=np.bincount(place, weights=confidence, minlength=bins) / full,
        accuracy=np.bincount(place, weights=correct, minlength=bins) / full,
    )
