"""Confidence intervals, and McNemar's test of two classifiers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xfer.errors import UsageError

FEW = 25  # discordant images below which McNemar's test is exact


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Args:
        value: of the metric on all images.
        low, high: its bounds.
        level: of confidence.
        resamples: behind it, those left out in which the metric is undefined.
    """

    value: float
    low: float
    high: float
    level: float
    resamples: int


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of whether two classifiers are right equally often on the same images.

    Args:
        statistic: the smaller of the two counts where the test is exact, else chi-square with continuity correction.
        p_value: two-sided.
        first_only, second_only: images that only the first or only the second has right.
        exact: whether the p-value is the binomial one.
    """

    statistic: float
    p_value: float
    first_only: int
    second_only: int
    exact: bool


def bootstrap(
    statistic: Callable[[np.ndarray], float | None], images: int, *, level: float, resamples: int, seed: int
) -> Interval:
    """The percentile bootstrap over images (Efron & Tibshirani 1993, chapter 13).

    Args:
        statistic: of some images, given their places, int64 (N,), with repetitions; None where it is undefined.
        images: how many there are, N.
        level: of confidence, between 0 and 1.
        resamples: how many to draw.
        seed: of the draws.

    Raises:
        UsageError: level or resamples cannot be, or the statistic is undefined on all images or in every resample.
    """
    if not 0 < level < 1:
        raise UsageError(f"level={level}: give a number between 0 and 1, such as 0.95")
    if resamples < 1:
        raise UsageError(f"resamples={resamples}: give at least 1")
    value = statistic(np.arange(images))
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.integers(0, images, images)) for _ in range(resamples)]
    defined = [found for found in drawn if found is not None]
    if value is None or not defined:
        raise UsageError("no interval: the metric is undefined on these images, or on whatever was drawn from them")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level, len(defined))


def wilson(right: int, images: int, level: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share, such as an accuracy: its bounds.

    Args:
        right: how many of the images are right.
        images: 1 or more.
        level: of confidence, between 0 and 1.
    """
    from scipy.stats import binomtest

    found = binomtest(right, images).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's test (1947): exact below `FEW` discordant images, else with Edwards's continuity correction (1948).

    Args:
        first, second: bool (N,), which images each classifier has right.
    """
    from scipy.stats import binomtest, chi2

    one, two = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = one + two
    if discordant == 0:
        return McNemar(0.0, 1.0, one, two, exact=True)
    if discordant < FEW:
        return McNemar(float(min(one, two)), float(binomtest(one, discordant).pvalue), one, two, exact=True)
    statistic = max(abs(one - two) - 1, 0) ** 2 / discordant
    return McNemar(statistic, float(chi2.sf(statistic, df=1)), one, two, exact=False)
