"""A clock that tests move, and a display that keeps what is reported to it."""

import heapq
from contextlib import contextmanager

from xfer.runtime import progress
from xfer.runtime.clock import Clock
from xfer.runtime.display import Display


class FakeClock(Clock):
    """Time passes when it is told to, and what is due meanwhile is called in its order."""

    def __init__(self):
        self.time = 1000.0
        self._due, self._number = [], 0

    def now(self):
        return self.time

    def later(self, seconds, call):
        entry = [self.time + max(seconds, 0.0), self._number, call]
        self._number += 1
        heapq.heappush(self._due, entry)
        return lambda: entry.__setitem__(2, None)

    def pass_by(self, seconds):
        until = self.time + seconds
        while self._due and self._due[0][0] <= until:
            when, _, call = heapq.heappop(self._due)
            self.time = max(self.time, when)
            if call is not None:
                call()
        self.time = until


class Recorder(Display):
    """All work that began, the last of each name."""

    def __init__(self):
        super().__init__(None, progress.CLOCK)
        self.seen, self.said = {}, []

    def began(self, work):
        super().began(work)
        work.first = work.done
        self.seen[work.what] = work

    def say(self, text):
        self.said.append(text)


@contextmanager
def recorded(monkeypatch):
    """What is reported meanwhile, by name: `Work` with `first`, what was done before."""
    display = Recorder()
    monkeypatch.setattr(progress, "_display_on", lambda out: display)
    with progress.show_progress():
        yield display.seen
