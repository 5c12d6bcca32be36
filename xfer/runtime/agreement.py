"""Ctrl-C, SIGTERM and the time in a run of several processes: all of them take the same decision at the same place.

Whatever the processes gather, such as which images of a batch could be read, each tells beside it which signal it has
caught, and the first one whether it is time for a checkpoint. So no exchange is added, and all know the same after it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NamedTuple, Self

from xfer.errors import DistributedError
from xfer.runtime.launcher import ended
from xfer.runtime.signals import Interrupted, Watch

# torchrun, Slurm and Kubernetes kill what still runs 30 seconds after SIGTERM. Before that it must be said why a run
# ends whose processes do not come to the same place any more, because one is gone.
PATIENCE = 20.0


class Notes(NamedTuple):
    """What a process tells: the signal that it has caught, if any, and whether it is time for a checkpoint."""

    caught: int | None = None
    late: bool = False


class SharedWatch(Watch):
    """A watch of each process of a run; `look` raises what any of them has caught, once all know it.

    Another SIGTERM is ignored, because some launchers send it twice; another SIGINT does not wait. After an
    interruption, or when another process has ended, SIGTERM stays ignored: the launcher sends it to what is left.
    """

    def __init__(self, *, active: bool = True, late: Callable[[], bool] | None = None) -> None:
        super().__init__(active=active, late=late)
        self._agreed = Notes()
        self._impatient = False
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        _entered.append(self)
        return super().__enter__()

    def __exit__(self, *raised: object) -> None:
        _entered.remove(self)
        self._wait_no_more()
        super().__exit__(*raised)
        if isinstance(raised[1], Interrupted | DistributedError) and signal.SIGTERM in self._before:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def look(self) -> None:
        """Raise what all know that one has caught."""
        if self._agreed.caught is not None:
            raise Interrupted(self._agreed.caught)

    def late(self) -> bool:
        """Whether the first process has told that it is time for the next checkpoint; said once."""
        late = self._agreed.late
        self._agreed = self._agreed._replace(late=False)
        return late

    @property
    def notes(self) -> Notes:
        """What this process tells the others."""
        return Notes(self._caught, super().late())

    def agree(self, told: Sequence[Notes]) -> None:
        """Take over what all processes have told, by rank; raise it where nothing changes that must be whole."""
        caught = next((notes.caught for notes in told if notes.caught is not None), None)
        self._agreed = Notes(caught, told[0].late or self._agreed.late)
        if caught is not None:
            self._wait_no_more()
            if self._anywhere:
                self.look()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._impatient:
            self._impatient = False
            ended(number, frame)
        elif self._caught is None:
            self._caught = number
            if self._agreed.caught is None:
                self._timer = threading.Timer(PATIENCE, self._lose_patience, (number, threading.get_ident()))
                self._timer.daemon = True
                self._timer.start()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    def _lose_patience(self, number: int, main: int) -> None:
        self._impatient = True
        signal.pthread_kill(main, number)  # wakes it if it sleeps

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._impatient = None, False


_entered: list[SharedWatch] = []


def notes() -> Notes:
    """What this process tells with whatever is gathered."""
    return _entered[-1].notes if _entered else Notes()


def agree(told: Sequence[Notes]) -> None:
    """Take over what all processes have told, by rank."""
    if _entered:
        _entered[-1].agree(told)


def watch(processes: int, *, active: bool = True, late: Callable[[], bool] | None = None) -> Watch:
    """A watch for a run of so many processes; see `Watch`."""
    return Watch(active=active, late=late) if processes == 1 else SharedWatch(active=active, late=late)
