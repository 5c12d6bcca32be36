"""Decoding files in other processes, so that a crash, a hang or a memory bomb affects only its own file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Timer
from typing import Any

from xfer.data.images.decode import Source
from xfer.data.images.probe import ImageInfo, look
from xfer.errors import XferError

SECONDS = 10.0  # for one file
MEMORY = 6 * 2**30  # bytes of address space for one process, beyond what it starts with
_START = 120.0  # seconds


@contextmanager
def isolated(count: int) -> Iterator[Callable[[Source], ImageInfo | str]]:
    """A `look` that reads paths and encoded bytes in `count` processes, at least one; from as many threads at once.

    What ends such a process, takes longer than `SECONDS` or more than `MEMORY`, becomes the file's reason, and another
    process goes on. All of them end with the context. Arrays and Pillow images are looked at in this one.
    """
    children = [_Child() for _ in range(max(count, 1))]
    free: SimpleQueue[_Child] = SimpleQueue()
    for child in children:
        free.put(child)

    def look_isolated(source: Source) -> ImageInfo | str:
        if not isinstance(source, (bytes, Path)):
            return look(source)
        child = free.get()
        try:
            return child.look(source)
        finally:
            free.put(child)

    try:
        yield look_isolated
    finally:
        for child in children:
            child.end()


class _Child:
    """A process that is started when there is something to do, and again after it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def look(self, source: Path | bytes) -> ImageInfo | str:
        if self._process is not None and self._process.poll() is not None:
            self.end()  # it died while it had nothing to do, which is no fault of this file
        process = self._process or self._start()
        if isinstance(source, bytes):
            asked = json.dumps({"bytes": len(source)}).encode() + b"\n" + source
        else:
            asked = json.dumps({"path": str(source)}).encode() + b"\n"
        answer = self._ask(process, asked, SECONDS)
        if answer is None:
            return f"decoding it took more than {SECONDS:g} s"
        found = _understood(answer)
        if found is not None:
            return found
        if not answer:
            with suppress(subprocess.TimeoutExpired):
                process.wait(1.0)  # it has closed its stdout, and is about to end
        self.end()
        return "its decoder gave no sensible answer" if answer else f"its decoder {_death(process.returncode)}"

    def end(self) -> None:
        """Kill the process, if there is one, and wait for it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: a folder of the user's called PIL/ must not shadow Pillow. A session of its own: Ctrl-C is for us, who
        # then end it.
        command = [sys.executable, "-P", "-m", "xfer.data.images.worker"]
        self._process = process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        if self._ask(process, b"", _START) != b'"ready"\n':
            self.end()
            raise XferError(f"the process to decode in did not start: {' '.join(command)} {_death(process.returncode)}")
        return process

    def _ask(self, process: subprocess.Popen[bytes], asked: bytes, seconds: float) -> bytes | None:
        """A line of the process, or what is left of one if it died; None if it was killed because it took too long."""
        assert process.stdin is not None
        assert process.stdout is not None
        late = Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = Timer(seconds, stop)
        timer.start()
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(asked)
                process.stdin.flush()
            answer = process.stdout.readline()
        finally:
            timer.cancel()
            timer.join()
        if late.is_set():
            self.end()
            return None
        return answer


def _understood(answer: bytes) -> ImageInfo | str | None:
    """None of anything that is not what `xfer.data.images.worker` answers."""
    try:
        found: Any = json.loads(answer)
        if isinstance(found, str):
            return found
        digest, width, height, form, mode = found
        if not (isinstance(width, int) and isinstance(height, int) and isinstance(form, str) and isinstance(mode, str)):
            return None
        return ImageInfo(bytes.fromhex(digest), width, height, form, mode)
    except (ValueError, TypeError):
        return None


def _death(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
