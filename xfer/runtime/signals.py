"""Ctrl-C and SIGTERM while training: noted when they come, raised where the state of the run is consistent."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM at a moment from which the run can go on.

    Attributes:
        number: of the signal.
        saved: the path or URL of what the same job goes on from.
    """

    def __init__(self, number: int, saved: object = None) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.saved = number, saved


class Watch:
    """Notes SIGINT and SIGTERM while it is entered, in the main thread.

    Whoever is in the middle of something calls `look` when it is done. A second signal does not wait: it raises a
    plain KeyboardInterrupt, which says that nothing is whole.

    Args:
        active: whether to note anything at all.
        late: whether it is time for the next checkpoint.
    """

    def __init__(self, *, active: bool = True, late: Callable[[], bool] | None = None) -> None:
        self.active, self._late = active, late
        self._caught: int | None = None
        self._anywhere = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if self.active and threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def look(self) -> None:
        """Raise what was noted.

        Raises:
            Interrupted: a signal came since the watch began.
        """
        if self._caught is not None:
            raise Interrupted(self._caught)

    def late(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return self._late is not None and self._late()

    @contextmanager
    def anywhere(self) -> Iterator[None]:
        """While nothing changes that must be whole, a signal is raised at once."""
        self.look()
        self._anywhere = True
        try:
            yield
        finally:
            self._anywhere = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._caught is not None:
            raise KeyboardInterrupt
        self._caught = number
        if self._anywhere:
            self.look()
