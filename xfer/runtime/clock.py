"""The clock by which progress is shown; tests put one of their own in its place and never wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Clock:
    """The clock of the machine."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def later(self, seconds: float, call: Callable[[], object]) -> Callable[[], object]:
        """Have `call` called in another thread after so many seconds; what is returned cancels it."""
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()
        return timer.cancel
