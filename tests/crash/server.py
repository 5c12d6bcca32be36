"""Runs training, or prediction into a table, in forked processes that may be killed; the framework is imported once.

usage: python tests/crash/server.py BACKEND
Each line of stdin is a job: {"options": ..., "resume": ..., "features": ..., "fault": ..., "log": ...}, or one with
"predict", a run and images, or with "tune", a data set. For each, stdout has the process's number and then how it
ended. With `fault` k, the process kills itself at the k-th point: before and after every mkdir, write, fsync, rename
and unlink below the run's folder and the cache's, and in the middle of every write.
"""

# ruff: noqa: PTH115, PTH118, PTH100, PTH120 (what it patches is in os)

import builtins
import importlib
import json
import os
import pathlib
import signal
import sys
import traceback
from pathlib import Path

MODULES = {
    "torch": ("torch", "torchvision", "xfer_torch.backend", "xfer_torch.stepper"),
    "tensorflow": ("keras", "tensorflow", "xfer_keras.backend", "xfer_keras.stepper"),
    "xfer.testing:NumpyBackend": ("xfer.testing",),
    "tune": ("xfer.testing", "xfer.report.tuning", "optuna.importance", "optuna.storages.journal", "matplotlib.figure"),
}
ALWAYS = (
    "xfer.workflows.prediction.job",
    "xfer.workflows.run",
    "xfer.training.trainer",
    "xfer.models.factory",
    "xfer.data",
    "sklearn.metrics",
    "safetensors.numpy",
    "skops.io",
)
PATCHED = ("mkdir", "fsync", "rename", "replace", "unlink", "remove", "rmdir")


class Points:
    """Counts what happens to files, and dies at the one that was asked for."""

    def __init__(self, roots, fault):
        self.roots, self.fault, self.count = [os.path.realpath(root) for root in roots], fault, 0

    def pass_(self):
        self.count += 1
        if self.count == self.fault:
            os.kill(os.getpid(), signal.SIGKILL)

    def concerns(self, what, directory=None):
        if isinstance(what, int):
            path = os.readlink(f"/proc/self/fd/{what}")
        elif directory is not None:  # as rmtree does it
            path = os.path.join(os.readlink(f"/proc/self/fd/{directory}"), os.fspath(what))
        else:
            path = os.path.abspath(os.fspath(what))
        return any(path == root or path.startswith(root + os.sep) for root in self.roots)

    def plant(self):
        for name in PATCHED:
            setattr(os, name, self.around(getattr(os, name)))
        plain = pathlib.Path.open

        def open_(path, mode="r", *arguments, **options):
            file = plain(path, mode, *arguments, **options)
            if set(mode) & set("wxa") and self.concerns(path):
                return Torn(file, self)
            return file

        pathlib.Path.open = open_
        builtin = builtins.open

        def plain_open(path, mode="r", *arguments, **options):
            file = builtin(path, mode, *arguments, **options)
            return Torn(file, self) if "a" in mode and self.concerns(path) else file

        builtins.open = plain_open  # Optuna's journal is appended to

    def around(self, function):
        def patched(what, *arguments, **options):
            if not self.concerns(what, options.get("dir_fd")):
                return function(what, *arguments, **options)
            self.pass_()
            result = function(what, *arguments, **options)
            self.pass_()
            return result

        return patched


class Torn:
    """A file whose writes may be cut off in the middle."""

    def __init__(self, file, points):
        self.file, self.points = file, points

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.file.close()

    def write(self, content):
        half = len(content) // 2
        self.points.pass_()
        self.file.write(content[:half])
        self.file.flush()
        self.points.pass_()
        self.file.write(content[half:])
        return len(content)


def train(job):
    """A run."""
    from xfer.workflows.config import run_settings
    from xfer.workflows.run import train

    train(run_settings(job["options"]), progress=False, resume=job["resume"])


def predict(job):
    """A table, in windows of two batches."""
    import xfer
    from xfer.data.sources.lists import listed
    from xfer.workflows.prediction import job as jobs

    jobs.window = lambda classes, batch_size: 2 * batch_size
    options = {name: value for name, value in job["options"].items() if name != "out"}
    run, images = job["predict"]
    model = xfer.load(run, backend=job["backend"])
    jobs.PredictionJob(job["options"]["out"]).run(model, listed([images]), jobs.PredictionOptions(**options))


def tune(job):
    """A search."""
    import xfer

    xfer.tune(job["tune"], trials=job["trials"], progress=False, **job["options"])


def work(job):
    """The job, in the child."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["XFER_FEATURES"] = job["features"]
    out = job["options"]["out"]
    points = Points([os.path.dirname(out) if "predict" in job else out, job["features"]], job.get("fault"))
    points.plant()
    try:
        (predict if "predict" in job else tune if "tune" in job else train)(job)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stderr.write(f"points {points.count}\n")
    sys.stderr.flush()
    os._exit(0)


def main(backend):
    """Serve until stdin ends."""
    for name in (*ALWAYS, *MODULES[backend]):
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            work(job)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2] / "backends"), str(Path(__file__).parents[2])]
    main(sys.argv[1])
