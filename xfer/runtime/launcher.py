"""The signal by which a launcher ends what is left of a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from xfer.errors import DistributedError


def mind_the_launcher() -> None:
    """Have SIGTERM raise an error, and not end this process without a word; unless it has a handler."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, ended)


def ignore_the_launcher() -> None:
    """One error is enough: the signal that comes beside it must not raise another while this one is told."""
    if signal.getsignal(signal.SIGTERM) is ended:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


class _Held:
    """Whether SIGTERM waits at the moment, and whether it has come."""

    waits = came = False


@contextmanager
def launcher_waits() -> Iterator[None]:
    """Have the error of SIGTERM wait: raised inside a framework's error, it would make that one of no known kind."""
    _Held.waits = True
    try:
        yield
    finally:
        _Held.waits = False
    if _Held.came:
        _raise()


def ended(number: int, frame: FrameType | None) -> None:
    """A handler of SIGTERM: say that another process has ended, or that this run was told to."""
    if _Held.waits:
        _Held.came = True
    else:
        _raise()


def _raise() -> NoReturn:
    ignore_the_launcher()
    raise DistributedError("the launcher ends this run, because another process of it has ended, or it was told to")
