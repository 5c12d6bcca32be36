"""Reads hostile files one after the other, and says what became of each and what the interpreter saw.

usage: python -m tests.core.security.victim FOLDER < JSON list of [name, kind, path]   (JSON on stdout)

Everything is imported and every reader used once on something good before the hook is armed. Then no import, no
execution, no process, no socket and no change to a file is expected, and no file is opened outside of FOLDER and of
what is installed.
"""

import ast
import json
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xfer
from tests.core.security import caches
from xfer.data.images.decode import BadImageError, decode
from xfer.errors import XferError
from xfer.testing import NumpyBackend
from xfer.weights import read_weights
from xfer.workflows.config import read_toml, run_settings
from xfer.workflows.ensemble import Ensemble

SECONDS = 30  # generous: whatever does not end is found
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = (
    *("exec", "import", "compile", "pickle.", "marshal.", "code.", "function.", "ctypes.", "cpython."),
    *("os.", "subprocess.", "pty.", "socket.", "shutil.", "tempfile.", "urllib.", "http.", "ftplib.", "webbrowser."),
    *("signal.", "syslog.", "winreg.", "mmap.__new__", "fcntl.", "sqlite3.", "smtplib."),
)
OURS = (sys.prefix, sys.base_prefix, str(Path(xfer.__file__).parents[1]), "/proc/", "/sys/")  # what is installed
LOOKS = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "mmap.__new__"}  # they change nothing

SYNTAX = ast.__file__  # NumPy reads the headers of its arrays with ast.literal_eval, which compiles and runs nothing


def use_run(path: str) -> None:
    """Load a run, go on training it, or load an ensemble."""
    if Path(path, "ensemble.json").exists():
        Ensemble.load(path, device="cpu")
        return
    xfer.load(path, backend=NumpyBackend())
    xfer.Trainer.resume(path, backend=NumpyBackend(), progress=False)


READERS: dict[str, Callable[[str], Any]] = {
    "weights": read_weights,
    "harmless": read_weights,
    "table": xfer.data.manifest,
    "config": lambda path: run_settings(read_toml(path)),
    "run": use_run,
    "cache": caches.use_space,
    "image": lambda path: decode(Path(path)),
}


class Watch:
    """Notes what the interpreter reports while it is armed."""

    def __init__(self, folder: str) -> None:
        self.folder, self.armed, self.seen = os.path.realpath(folder), False, list[str]()
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        self.armed = False  # what is done here is not of interest
        if event == "open":
            path, mode, flags = arguments
            real = os.path.realpath(os.fsdecode(path)) if isinstance(path, (str, bytes)) else "?"
            inside = real.startswith((self.folder, *OURS))
            if not inside or (flags or 0) & WRITES or set(mode or "r") & set("wax+"):
                self.seen.append(f"open {path!r} {mode} {flags}")
        elif event.startswith(FORBIDDEN) and event not in LOOKS:
            syntax = event == "compile" and sys._getframe(1).f_code.co_filename == SYNTAX
            if not syntax:
                self.seen.append(f"{event} {str(arguments)[:200]}")
        self.armed = True


@contextmanager
def limited() -> Iterator[None]:
    """At most so many seconds; an endless loop becomes an error that no reader catches."""

    def ring(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def peak() -> int:
    """The most MiB of memory that this process has had since the last `forget`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) >> 10


def forget() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def attack(kind: str, path: str, watch: Watch) -> dict[str, Any]:
    """What becomes of one file."""
    forget()
    before, start = peak(), time.monotonic()
    watch.seen.clear()
    try:
        with limited():
            watch.armed = True
            try:
                READERS[kind](path)
            finally:
                watch.armed = False
        outcome, message = "value", ""
    except (XferError, BadImageError) as error:
        outcome, message = "refused", str(error)
    except BaseException as error:
        outcome, message = f"{type(error).__name__}", str(error)[:300]
    return {
        "outcome": outcome,
        "message": message,
        "seconds": time.monotonic() - start,
        "MiB": peak() - before,
        "seen": list(watch.seen),
    }


def main(folder: str) -> None:
    """Read the list, warm up, attack."""
    warnings.simplefilter("ignore")
    listed = json.load(sys.stdin)
    caches.warm_up(Path(folder), READERS)
    room = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (16 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))  # so that a bomb hurts no one else
    watch = Watch(folder)
    report = {}
    for name, kind, path in listed:
        report[name] = attack(kind, path, watch)
        print(name, report[name], file=sys.stderr, flush=True)
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
