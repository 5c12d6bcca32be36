"""Work under way: how much of it is done, how fast, and how long the rest will take."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

WINDOW = 30.0  # seconds over which the rate is measured
_APART = 0.5  # seconds between two samples of it


class Work:
    """Work that a display shows.

    Its rate is that of the last `WINDOW` seconds. The time before the first report counts nowhere: the first batch of a
    network takes longer than the others, because it is traced or compiled.

    Args:
        what: as a present participle, such as "extracting features".
        total: how much there is to do; None if that is not known.
        unit: in the plural; empty where nothing is counted.
        now: the time in seconds, as of a clock that never goes back.
        done: how much was done before.

    Attributes:
        note: a word on how it goes, such as the loss.
    """

    def __init__(self, what: str, total: float | None, unit: str, now: Callable[[], float], done: float = 0.0) -> None:
        self.what = "".join(c if c.isprintable() else "?" for c in what)
        self.total, self.unit, self.done, self.note = total, unit, done, ""
        self._now = now
        self.started = now()
        self._samples: deque[tuple[float, float]] = deque()

    @property
    def counted(self) -> bool:
        """Whether it is known how much is done."""
        return bool(self.unit)

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return self._now() - self.started

    def reach(self, done: float) -> None:
        """Note how much is done by now."""
        now, samples = self._now(), self._samples
        self.done = done
        if not samples or now - samples[-1][0] >= _APART:
            samples.append((now, done))
        while len(samples) > 1 and now - samples[1][0] >= WINDOW:
            samples.popleft()

    def rate(self) -> float | None:
        """Units a second; None while that cannot be known."""
        if not self._samples:
            return None
        then, before = self._samples[0]
        seconds = self._now() - then
        return (self.done - before) / seconds if seconds >= _APART else None

    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None while that cannot be known."""
        rate = self.rate()
        return max(self.total - self.done, 0.0) / rate if self.total is not None and rate else None

    def amount(self, between: str = " of ") -> str:
        """How much is done, such as `12,400 of 50,000 images`."""
        whole = "" if self.total is None else f"{between}{self.total:,.0f}"
        return f"{self.done:,.0f}{whole} {self.unit}"

    def figures(self, between: str = " of ") -> list[str]:
        """Amount, rate, time left and note, as far as they are known; of what is not counted, the time so far."""
        if not self.counted:
            return [f"{duration(self.elapsed)} so far"]
        rate, left = self.rate(), self.seconds_left()
        found = [self.amount(between)]
        found += [f"{duration(self.elapsed)} so far" if rate is None else f"{rate_text(rate)}/s"]
        found += [f"{duration(left)} left"] if left is not None else []
        return found + ([self.note] if self.note else [])

    def line(self) -> str:
        """All of it: `extracting features: 12,400 of 50,000 images, 210/s, 3 min left`."""
        return f"{self.what}: {', '.join(self.figures())}"


def rate_text(rate: float) -> str:
    """A rate with two or three digits."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"


def duration(seconds: float) -> str:
    """A time as people say it: `45 s`, `3 min`, `2 h 10 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"
