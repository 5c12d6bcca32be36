"""Processes for tests that cost no start of Python and no import of a framework: forked from one that has both.

usage: python -m tests.suites.processes MODULE ...

Each line of stdin is a job: {"call": "module:function", "arguments": [...], "cwd": ..., "env": {...}, "stdout": FILE,
"stderr": FILE}. It runs in a fork of this process, which has imported the modules and computed nothing; stdout gets
its exit code. Otherwise the fork is like a new process: no stdin, its own working directory, environment and
`sys.argv`, ended as the interpreter ends.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
XFER = (
    "xfer.cli.app",
    "xfer.data",
    "xfer.models.factory",
    "xfer.training.trainer",
    "xfer.workflows.run",
    "sklearn.metrics",
    "scipy.stats",
)
FRAMEWORKS = {
    "none": (*XFER, "xfer.testing"),
    "torch": (*XFER, "xfer_torch.backend", "xfer_torch.stepper"),
    "tensorflow": (*XFER, "xfer_keras.backend", "xfer_keras.stepper"),
    "jax": (*XFER, "xfer_jax.backend", "xfer_jax.stepper"),
}


class Forking:
    """A process that has imported a framework, and whose forks run calls."""

    def __init__(self, framework):
        command = [sys.executable, "-m", "tests.suites.processes", *FRAMEWORKS[framework]]
        self._server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, call, *arguments, cwd=None, env=None):
        """Run `module:function` in a fork; a `CompletedProcess` with what it wrote and its exit code."""
        with tempfile.TemporaryDirectory() as folder:
            files = {name: str(Path(folder) / name) for name in ("stdout", "stderr")}
            where = {"cwd": str(cwd or Path.cwd()), "env": dict(env or os.environ)}
            self._server.stdin.write(json.dumps({"call": call, "arguments": list(arguments), **where, **files}) + "\n")
            self._server.stdin.flush()
            answer = self._server.stdout.readline()
            assert answer, f"the process that runs {call} ended"
            texts = {name: Path(file).read_text("utf-8") for name, file in files.items()}
        return subprocess.CompletedProcess([call, *arguments], int(answer), **texts)


@cache
def forking(framework):
    """The process of this test run; it ends with its stdin."""
    return Forking(framework)


def xfer_main(*arguments):
    """What the command `xfer` runs."""
    from xfer.cli import main

    sys.argv = ["xfer", *arguments]
    main()


def _begin(job):
    """Become a process of its own, in the fork."""
    os.setsid()
    for number, name in enumerate((os.devnull, job["stdout"], job["stderr"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])


def serve():
    """Fork for each line of stdin. Returns the job, in the fork alone; ends with stdin."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            return json.loads(line)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    sys.exit()


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        importlib.import_module(wanted)
    job = serve()
    _begin(job)
    module, _, function = job["call"].partition(":")
    getattr(importlib.import_module(module), function)(*job["arguments"])
