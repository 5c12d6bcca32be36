"""Running a job in a fresh process, with one framework in each."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Literal

from xfer.errors import XferError
from xfer.runtime import environment
from xfer.runtime.progress import step
from xfer.specs.settings import RunSettings


def run_worker(do: Literal["check", "train"], config: RunSettings, *, progress: bool = True) -> None:
    """Do one job in a process of its own and wait for it; what it says on stderr goes to ours.

    Args:
        do: "train", or "check" that the backend has the model and the device.
        config: of the run; its backend is the one that the process loads.
        progress: whether training reports on stderr.

    Raises:
        XferError: the worker's own line, or how it died.
    """
    job = {"do": do, "config": config.document(), "progress": progress}
    # -P: a folder of the user's called torch/ or keras/ must not shadow the framework.
    command = [sys.executable, "-P", "-m", "xfer.workflows.worker"]
    with step(f"checking {config.backend}", when=do == "check"):  # one that trains shows progress itself
        done = subprocess.run(
            command,
            input=json.dumps(job).encode(),
            stdout=subprocess.PIPE,
            env=environment.of_backend(),
            check=False,
        )
    if done.returncode or not done.stdout:
        raise XferError(f"{config.backend}: its process {_death(done.returncode)}")
    error = json.loads(done.stdout)["error"]
    if error is not None:
        raise XferError(f"{config.backend}: {error}")


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}; what it printed above says why"
    name = signal.Signals(-code).name
    hint = ": out of memory? try a smaller batch_size" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
