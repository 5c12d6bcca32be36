"""Seconds and peak memory of the phases of a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_CGROUP = Path("/sys/fs/cgroup")
_CONTAINERS = (
    (_CGROUP / "memory.max", _CGROUP / "memory.current"),
    (_CGROUP / "memory/memory.limit_in_bytes", _CGROUP / "memory/memory.usage_in_bytes"),
)


class Phases:
    """A stop-watch for named phases.

    Attributes:
        seconds: wall time by phase.
        peak_memory: peak resident memory of this process in bytes by phase; on systems that cannot reset the peak,
            that since the process began.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_memory: dict[str, int] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what runs inside as phase `name`."""
        reset_peak()
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - started
            self.peak_memory[name] = peak_memory()


def peak_memory() -> int:
    """Peak resident memory of this process in bytes, since it began or since the phase did."""
    if _STATUS.exists():
        line = next(x for x in _STATUS.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_memory() -> int:
    """Bytes of the host's memory that this process may still use, as the system and its container allow."""
    found = [int(psutil.virtual_memory().available)]
    for limit, used in _CONTAINERS:
        with suppress(OSError, ValueError):  # no such container, or "max"
            found.append(int(limit.read_text()) - int(used.read_text()))
    return min(found)


def reset_peak() -> None:
    """Let `peak_memory` begin anew, where the system can."""
    with suppress(OSError):  # not Linux, or not allowed: the peak stays that of the whole process
        _CLEAR.write_text("5")
