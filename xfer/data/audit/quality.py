"""Pictures of which little can be seen: dark, of low contrast, blurred, or much smaller than the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from xfer.data.audit.appearance import Appearance
from xfer.data.audit.duplicates import Place

DARK = 64.0  # 99 of 100 pixels are darker than a quarter of white
LOW_CONTRAST = 32.0
BLURRED = 0.15
TINY = 0.25


@dataclass(frozen=True)
class QualityIssue:
    """What is wrong with a picture.

    Args:
        place: the image.
        issue: "dark": 99 of 100 pixels have a luma below 64 (of 255). "low contrast": 98 of 100 pixels differ by less
            than 32. "blurred": at most 256 pixels wide and high, the 99th percentile of the Laplacian is below 0.15 of
            the contrast. "tiny": the shorter side is below a quarter of the median.
        value: the measure: luma, difference of luma, share, or pixels.
        bound: what it is below.
    """

    place: Place
    issue: str
    value: float
    bound: float

    @property
    def severity(self) -> float:
        """How far below the bound, 0 to 1."""
        return 1 - self.value / self.bound


def quality_issues(places: Sequence[Place], found: Sequence[Appearance | None]) -> list[QualityIssue]:
    """The issues of all images, the worst first."""
    seen = [(place, each) for place, each in zip(places, found, strict=True) if each is not None]
    if not seen:
        return []
    tiny = TINY * float(np.median([min(each.width, each.height) for _, each in seen]))
    issues = [issue for place, each in seen for issue in _issues(place, each, tiny)]
    return sorted(issues, key=lambda issue: (-issue.severity, issue.place.split, issue.place.name))


def _issues(place: Place, found: Appearance, tiny: float) -> Iterator[QualityIssue]:
    if (shorter := min(found.width, found.height)) < tiny:
        yield QualityIssue(place, "tiny", shorter, tiny)
    if found.brightest < DARK:
        yield QualityIssue(place, "dark", found.brightest, DARK)
    elif found.contrast < LOW_CONTRAST:
        yield QualityIssue(place, "low contrast", found.contrast, LOW_CONTRAST)
    elif found.sharpness is not None and found.sharpness < BLURRED:
        yield QualityIssue(place, "blurred", found.sharpness, BLURRED)
