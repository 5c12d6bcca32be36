"""Starting the processes of a run on this machine, as torchrun does it, and waiting for them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from xfer.errors import DistributedError
from xfer.runtime import ending, environment
from xfer.runtime.devices import cpu_cores
from xfer.runtime.messages import on_stderr
from xfer.runtime.rendezvous import free_port
from xfer.runtime.signals import Interrupted

GRACE = 30.0  # seconds from SIGTERM to SIGKILL, for those that are left when one has failed
_POLL = 0.05
# What bounds the threads that the frameworks compute with: OpenMP's and MKL's, TensorFlow's, XLA's on a CPU.
_THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "NPROC")


def launch(module: str, job: Mapping[str, Any], processes: int, *, silent: bool = False) -> None:
    """Run a module in so many processes, which are those of one run, and wait for them.

    The first has this process's stdout and stderr. When one fails, the others are ended. Ctrl-C and SIGTERM are passed
    on. The cores are divided between the processes, where no variable of the environment says how many threads compute.

    Args:
        module: which calls `ending.tell` when it ends by an error, and `ending.end_with_parent` when it begins.
        job: what it reads from stdin, as JSON.
        processes: how many.
        silent: nothing that the first process prints on stdout is wanted.

    Raises:
        XferError: what the first one that has failed has told. Interrupted: all have ended by Ctrl-C or SIGTERM.
    """
    with tempfile.TemporaryDirectory(prefix="xfer-") as folder:
        run = _Run(Path(folder))
        (run.folder / "job").write_text(json.dumps(job, default=str), "utf-8")
        shared = _environment(processes) | {ending.FOLDER: folder}
        try:
            with run.passing_on():
                run.processes += [_start(module, rank, shared, run.folder, silent) for rank in range(processes)]
                run.wait()
        finally:
            run.send(signal.SIGKILL)  # to nothing, unless starting or waiting has failed
            for process in run.processes:
                process.wait()
        if any(process.returncode for process in run.processes):
            raise run.error() from None


class _Run:
    """The processes of a run, by rank, the signals that were passed on to them, and where they tell how they end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.passed: list[int] = []
        self.failed: list[int] = []  # the first, before others were ended

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all that still run."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    @contextmanager
    def passing_on(self) -> Iterator[None]:
        """While it is entered, in the main thread, Ctrl-C and SIGTERM go to the processes, which end by them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def send(number: int, frame: FrameType | None) -> None:
            self.passed.append(number)
            self.send(signal.Signals(number))

        known = (signal.SIGINT, signal.SIGTERM)
        before = {n: signal.signal(n, send) for n in known if signal.getsignal(n) is not signal.SIG_IGN}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def wait(self) -> None:
        """Wait for all; when one has failed, end the others."""
        since = None
        while any(process.poll() is None for process in self.processes):
            self.failed = self.failed or [rank for rank, each in enumerate(self.processes) if each.poll()]
            if self.failed and since is None:
                since = time.monotonic()
                self.send(signal.SIGTERM)
            elif since is not None and time.monotonic() - since > GRACE:
                self.send(signal.SIGKILL)
            time.sleep(_POLL)

    def error(self) -> BaseException:
        """Why it has ended: what one has told before others told that it is gone, or how one has died."""
        found = {rank: ending.told(self.folder, rank) for rank in range(len(self.processes))}
        told = sorted((each for each in found.values() if each is not None), key=lambda each: each.at)
        stopped = [each for each in told if each.number is not None]
        own = [each for each in told if each.number is None and not each.of_others]
        died = {rank: self.processes[rank].returncode for rank, each in found.items() if each is None}
        died = {rank: code for rank, code in died.items() if code}
        if own:
            return own[0].error()
        if stopped and not died:
            # The first process names the checkpoint itself, others its folder.
            return max(stopped, key=lambda each: len(each.saved or "")).error()
        if self.passed and all(code == -self.passed[0] for code in died.values()):
            return Interrupted(self.passed[0])
        if not died:
            return told[0].error()
        rank, code = next(((rank, died[rank]) for rank in self.failed if rank in died), next(iter(died.items())))
        if rank and code > 0:
            on_stderr((self.folder / f"{rank}.log").read_text("utf-8", "replace").rstrip())
        kept = next((each.text.partition("; ")[2] for each in told if "; " in each.text), "")
        return DistributedError(f"process {rank} of {len(found)} {_death(code)}" + (f"; {kept}" if kept else ""))


def _environment(processes: int) -> dict[str, str]:
    """What torchrun says, for all processes."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    size = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, **where}
    threads = dict.fromkeys(_THREADS, max(cpu_cores() // processes, 1))
    return {n: str(v) for n, v in threads.items()} | environment.of_backend() | {n: str(v) for n, v in size.items()}


def _start(module: str, rank: int, shared: Mapping[str, str], folder: Path, silent: bool) -> subprocess.Popen[bytes]:
    """One process; what one that is not the first prints goes into a file, in case that it crashes."""
    with (folder / "job").open("rb") as job, (folder / f"{rank}.log").open("wb") as log:
        return subprocess.Popen(
            # -P: a folder of the user's called torch/ or keras/ must not shadow the framework.
            [sys.executable, "-P", "-m", module],
            stdin=job,
            stdout=subprocess.DEVNULL if rank or silent else None,
            stderr=log if rank else None,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            start_new_session=True,  # a terminal sends Ctrl-C to its own: this process, which passes it on once
        )


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}; what it printed above says why"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
