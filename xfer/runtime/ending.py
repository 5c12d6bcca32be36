"""How a process of a run tells the one that has started it why it ends."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from xfer import errors
from xfer.errors import DistributedError, UsageError, XferError
from xfer.runtime.distributed import launch_environment
from xfer.runtime.signals import Interrupted

FOLDER = "XFER_ENDINGS"  # in the environment: where processes write why they end
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


class Ending(NamedTuple):
    """Why a process ends.

    Args:
        kind: name of the class of the error.
        text: its line.
        at: seconds of a clock that all processes of a machine share.
        number: of the signal, of an interruption.
        saved: the checkpoint that was written because of it.
    """

    kind: str
    text: str
    at: float
    number: int | None = None
    saved: str | None = None

    def error(self) -> BaseException:
        """It, to be raised by the process that has started this one."""
        if self.number is not None:
            kept = self.saved if self.saved is None or "://" in self.saved else Path(self.saved)
            return Interrupted(self.number, kept)
        found = getattr(errors, self.kind, None)
        if self.kind == "KeyboardInterrupt":
            return KeyboardInterrupt()
        plain = isinstance(found, type) and issubclass(found, XferError) and found.__init__ is Exception.__init__
        if plain and isinstance(found, type):
            return found(self.text)  # type: ignore[no-any-return]
        usage = isinstance(found, type) and issubclass(found, UsageError)
        return UsageError(self.text) if usage else XferError(self.text)

    @property
    def of_others(self) -> bool:
        """Whether it is only that another process has ended."""
        return self.kind == DistributedError.__name__


def tell(error: BaseException) -> bool:
    """Write for whoever has started this process why it ends; False where nobody has asked for it."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return False
    number, saved = (error.number, error.saved) if isinstance(error, Interrupted) else (None, None)
    ending = Ending(type(error).__name__, str(error), time.monotonic(), number, None if saved is None else str(saved))
    try:
        Path(folder, str(launch_environment().rank)).write_text(json.dumps(ending._asdict()), "utf-8")
    except OSError:  # whoever has started this process is gone
        return False
    return True


def told(folder: Path, rank: int) -> Ending | None:
    """What a process has told; None where it has not."""
    try:
        return Ending(**json.loads((folder / str(rank)).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def end_with_parent() -> None:
    """Have SIGTERM sent to this process when the one that has started it is killed, where the system can (Linux)."""
    if os.environ.get(FOLDER) and sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
