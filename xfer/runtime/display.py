"""How work under way is shown: by lines in a log, or by one line in a notebook. `bar` has that for a terminal."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from xfer.runtime.clock import Clock
from xfer.runtime.messages import Messages
from xfer.runtime.work import Work

MINUTE = 60.0
PATIENCE = 30.0  # seconds before a log says what is being waited for
_REFRESH = 0.5  # seconds between two states of a notebook's line
_SECOND = 1.0  # before a notebook shows a line


class Display(ABC):
    """What work under way is reported to.

    Args:
        out: where it is shown.
        clock: the time.

    Attributes:
        under_way: in the order in which it began; what began last is what is being done.
    """

    def __init__(self, out: Messages, clock: Clock) -> None:
        self.out, self.clock = out, clock
        self.under_way: list[Work] = []
        self.lock = threading.RLock()
        self._timers: dict[Work, Callable[[], object]] = {}

    def began(self, work: Work) -> None:
        """Work begins."""
        with self.lock:
            self.under_way.append(work)

    def changed(self) -> None:  # noqa: B027 - most displays look by themselves
        """More of it is done."""

    def ended(self, work: Work) -> None:
        """It is done, or was given up."""
        with self.lock:
            self._timers.pop(work, lambda: None)()
            if work in self.under_way:
                self.under_way.remove(work)

    @abstractmethod
    def say(self, text: str) -> None:
        """Write a line that stays."""

    def announce(self, text: str) -> None:  # noqa: B027 - most show the work itself at once
        """Write that something begins."""

    def close(self) -> None:
        """End all that is under way."""
        for work in list(self.under_way):
            self.ended(work)

    def call_later(self, work: Work, seconds: float, call: Callable[[], object]) -> None:
        """Have `call` called after so many seconds, if the work is still under way."""
        self._timers[work] = self.clock.later(seconds, call)


class Lines(Display):
    """A log: a line about once a minute, however much work there is; of what takes less than that, none.

    What is not counted, such as the start of a framework, is named after `PATIENCE` seconds.
    """

    _last: float | None = None

    def began(self, work: Work) -> None:
        """Begin to wait until it is worth a line."""
        with self.lock:
            super().began(work)
            self._wait(work, MINUTE if work.counted else PATIENCE)

    def say(self, text: str) -> None:
        """Write a line; the next about progress comes a minute later."""
        with self.lock:
            self._last = self.clock.now()
            self.out.line(text)

    def announce(self, text: str) -> None:
        """Write it."""
        self.say(text)

    def _wait(self, work: Work, seconds: float) -> None:
        self.call_later(work, seconds, lambda: self._due(work))

    def _due(self, work: Work) -> None:
        """Say how far it is, if it is still under way and the last line is a minute old."""
        with self.lock:
            if work not in self.under_way:
                return
            wait = 0.0 if self._last is None else self._last + MINUTE - self.clock.now()
            if wait <= 0:
                self.say(self.under_way[-1].line())
                wait = MINUTE
            self._wait(work, wait)


class OneLine(Display):
    """A notebook: the line of what began last, from a second on, rewritten in its place and erased when that ends.

    It is erased at once, for what else a cell shows would come between the line and what erases it.
    """

    _width, _last = 0, float("-inf")
    _shown: Work | None = None

    def began(self, work: Work) -> None:
        """Begin to wait until it is worth a line."""
        with self.lock:
            super().began(work)
            self.call_later(work, _SECOND, self.changed)

    def changed(self) -> None:
        """Show it, if it has taken a second and the line is half a second old."""
        with self.lock:
            now = self.clock.now()
            if not self.under_way or now - self._last < _REFRESH or self.under_way[-1].elapsed < _SECOND:
                return
            self._last, self._shown = now, self.under_way[-1]
            self._write(self._shown.line())

    def ended(self, work: Work) -> None:
        """Erase its line."""
        with self.lock:
            super().ended(work)
            if work is self._shown:
                self._shown = None
                self._write("")

    def say(self, text: str) -> None:
        """Write a line in the place of the one that is rewritten, which comes below it."""
        self._write("")
        self.out.line(text)

    def _write(self, text: str) -> None:
        if text or self._width:
            self.out.write(f"\r{text.ljust(self._width)}" + ("" if text else "\r"))
            self.out.flush()
        self._width = len(text)
