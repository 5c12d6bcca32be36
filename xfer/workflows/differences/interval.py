"""A mean over seeds, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval by Student's t, as of a paired test where the numbers are differences.

    Args:
        mean: of the numbers.
        low, high: the interval.
        by_seed: the numbers.
    """

    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]

    def __repr__(self) -> str:
        return f"Estimate({self.text(digits=4)}, {len(self.by_seed)} seeds)"

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Estimate:
        """From at least two numbers; where all are the same, the interval is that number."""
        x = np.asarray(numbers, np.float64)
        half = float(stats.t.ppf((1 + LEVEL) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
        return cls(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half, tuple(map(float, x)))

    @property
    def within_noise(self) -> bool:
        """Whether 0 is in the interval."""
        return self.low <= 0 <= self.high

    def text(self, scale: float = 1.0, digits: int = 2) -> str:
        """Mean and half of the interval, such as "+0.52 ± 0.62"."""
        return f"{signed(scale * self.mean, digits)} ± {scale * (self.high - self.mean):.{digits}f}"


def signed(number: float, digits: int) -> str:
    """A number with its sign, which is + where it is rounded to 0."""
    return f"{round(number, digits) + 0.0:+.{digits}f}"
