"""Learning-rate schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from xfer.errors import UnknownNameError, UsageError

ScheduleName = Literal["constant", "cosine", "step", "onecycle"]


@dataclass(frozen=True)
class Schedule:
    """The factor on every learning rate, as a pure function of the update's index.

    Linear warm-up over `warmup` updates, then the named shape over the rest: `cosine` to zero (Loshchilov & Hutter
    2017), `step` times `gamma` at each fraction in `milestones`, `onecycle` up over 30 % from 1/25 and down to
    1/250000 by cosines (Smith & Topin 2018, torch's defaults), which has its own warm-up.
    """

    name: ScheduleName = "constant"
    warmup: int = 0
    milestones: tuple[float, ...] = (1 / 3, 2 / 3)
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.name not in get_args(ScheduleName):
            raise UnknownNameError("schedule", self.name, get_args(ScheduleName))
        if self.warmup < 0:
            raise UsageError(f"warmup={self.warmup} is negative: give a number of updates, 0 or more")
        if self.name == "onecycle" and self.warmup:
            raise UsageError("schedule 'onecycle' warms up by itself: leave warmup at 0")

    def factor(self, step: int, total: int) -> float:
        """The factor for update `step` (0-based) of `total`."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        if self.name == "constant":
            return 1.0
        if self.name == "onecycle":
            if total < 2:  # a cycle of one update would end where it began, at next to nothing
                return 1.0
            return _one_cycle(step, total)
        progress = (step - self.warmup) / max(1, total - self.warmup)
        if self.name == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        return float(self.gamma ** sum(progress >= m for m in self.milestones))


def _one_cycle(step: int, total: int) -> float:
    def anneal(start: float, end: float, fraction: float) -> float:
        return end + (start - end) / 2.0 * (math.cos(math.pi * fraction) + 1.0)

    peak = 0.3 * total - 1.0
    last = max(total - 1.0, peak + 1.0)
    if step <= peak:
        return anneal(1 / 25, 1.0, step / peak if peak > 0 else 1.0)
    return anneal(1.0, 1 / 25 / 1e4, (step - peak) / (last - peak))
