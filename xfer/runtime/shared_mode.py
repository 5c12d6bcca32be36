"""A setting of the whole process that threads need in one way or the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class SharedMode:
    """Threads that need the mode run together, and so do those that need it as the user has it; never both at once.

    Args:
        switch: switches the mode on, and returns what restores the setting of the user.
    """

    def __init__(self, switch: Callable[[], Callable[[], None]]) -> None:
        self._switch, self._restore = switch, _nothing
        self._changed = threading.Condition()
        self._inside, self._on = 0, False

    @contextmanager
    def __call__(self, on: bool) -> Iterator[None]:
        """The mode switched on, or as the user has it, for as long as the context lasts.

        Args:
            on: whether it is needed. Inside of one kind a thread cannot enter the other.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._inside or self._on == on)
            if not self._inside:
                self._restore, self._on = self._switch() if on else _nothing, on
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if not self._inside:
                    self._restore()
                    self._changed.notify_all()


def _nothing() -> None:
    """There is nothing to restore."""
