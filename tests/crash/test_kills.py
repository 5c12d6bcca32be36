"""A run that is killed and started again ends bit by bit as one that never was.

Short here; `make test-all`, or `pytest -m "" tests/crash`, kills each backend 200 times at random moments and once at
every point where a file is touched.
"""

import csv
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.checkpoints.rotation import FOLDER, checkpoints_in, latest_checkpoint

NUMPY = "xfer.testing:NumpyBackend"
BACKENDS = (NUMPY, "torch", "tensorflow")
NETS = {NUMPY: {"model": "tiny", "image_size": 16}}
NET = {"model": "mobilenet_v3_small", "image_size": 32, "precision": "fp32", "limit": 16}
COMMON = {
    "weights": "none",
    "epochs": 2,
    "fine_tune": 2,
    "batch_size": 8,
    "lr": 0.01,
    "checkpoint_steps": 1,
    "checkpoint_seconds": None,
    "val": 0.3,
    "unfreeze": 2,
}
SCENARIOS = {
    "cached": {},
    "uncached": {"cache": False, "workers": 2, "image_memory": 0},
    "augmented": {"augment": "flip,crop", "workers": 1, "mix": "mixup", "schedule": "cosine", "clip_norm": 1.0},
    "watching": {"early_stopping": 1, "monitor": "val_accuracy", "workers": 0, "optimizer": "sgd", "epochs": 4},
    "averaging": {"swa": 2, "dropout": 0.3, "hidden": "8", "label_smoothing": 0.1},
    "moving": {"layer_decay": 0.7, "ema": 0.8, "clip_norm": 1.0},
    "views": {"augment": "flip,crop", "cache_views": 2, "epochs": 4, "fine_tune": 1},
    "range test": {"lr": "auto"},
    "pseudo": {"pseudo_label": 0.5, "calibrate": True},
}


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """Pictures of two classes, in a table; some have no label, one is damaged."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    with (folder / "table.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["image", "label", "split"])
        for i in range(44):
            pixels = rng.integers(0, 150, (32, 32, 3))
            pixels[..., i % 2] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
            out.writerow([f"{i}.png", "" if i % 11 == 5 else "ab"[i % 2], "train" if i < 30 else "val"])
    (folder / "7.png").write_bytes(b"no picture")
    return folder / "table.csv"


class Server:
    """A process that forks runs; see `server.py`."""

    def __init__(self, backend, table, folder):
        self.backend, self.table, self.folder = backend, table, folder
        path = Path(__file__).with_name("server.py")
        self.process = subprocess.Popen(
            [sys.executable, path, backend],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"
        self.number = 0

    def new(self):
        """An empty folder for a run and its cache."""
        self.number += 1
        return self.folder / f"{self.number}"

    def run(self, where, options, fault=None, after=None, resume=False):
        """Run in `where`; killed at a point, or after so many seconds. The exit code and what it said."""
        where.mkdir(exist_ok=True)
        net = NETS.get(self.backend, NET)
        settings = {**COMMON, **net, **options, "data": str(self.table), "backend": self.backend}
        job = {"options": {**settings, "out": str(where / "run")}, "resume": resume}
        return self.work(where, job, fault, after)

    def work(self, where, job, fault=None, after=None):
        """Have a job done, with its log and its cache in `where`."""
        log = where / "log"
        job = {**job, "features": str(where / "features"), "fault": fault, "log": str(log)}
        print(json.dumps(job), file=self.process.stdin, flush=True)
        pid = int(self.process.stdout.readline())
        timer = threading.Timer(after, os.kill, (pid, signal.SIGKILL)) if after is not None else None
        if timer:
            timer.start()
        code = int(self.process.stdout.readline())
        if timer:
            timer.cancel()
            timer.join()
        text = log.read_text() if log.exists() else ""
        assert code in (0, -signal.SIGKILL), text
        return code, text

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(params=BACKENDS, scope="module")
def server(request, table, tmp_path_factory):
    found = Server(request.param, table, tmp_path_factory.mktemp("runs"))
    yield found
    found.close()


def outcome(where):
    """SHA-256 of what a finished run is: weights, optimizer, history, metrics, predictions; no times."""
    run = where / "run"
    manifest, metrics = open_checkpoint(run).manifest, json.loads((run / "metrics.json").read_text())
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in metrics["epochs"]]
    said = [manifest.tensors.sha256, manifest.optimizer.sha256, history, metrics["val"], metrics["data"]]
    found = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    found.update((run / "predictions.csv").read_bytes())
    return found.hexdigest()


def assert_readable(where):
    """Every checkpoint is whole, and there are no more than two and one being replaced."""
    folder = where / "run" / FOLDER
    for path in checkpoints_in(folder):
        open_checkpoint(path).verify()
    assert len(checkpoints_in(folder)) <= 3
    latest_checkpoint(where / "run")


def finish(server, where, options):
    """Start again until the run is over."""
    code, text = server.run(where, options)
    assert code == 0, text
    assert not (where / "run" / FOLDER).exists()
    return outcome(where)


@pytest.mark.parametrize("name", ["cached", pytest.param("uncached", marks=pytest.mark.long)])
def test_a_kill_in_mid_run_changes_nothing(server, name):
    options, reference = SCENARIOS[name], server.new()
    _, text = server.run(reference, options)
    points = int(text.split("points ")[1].split()[0])
    expected, where = outcome(reference), server.new()
    # Each part of the run goes a little further than the one before: in caching, in the head, in fine-tuning.
    for share in (0.1, 0.3, 0.25):
        code, _ = server.run(where, options, fault=int(points * share))
        assert code == -signal.SIGKILL
        assert_readable(where)
    assert finish(server, where, options) == expected
    _, text = server.run(server.new(), options)
    assert int(text.split("points ")[1].split()[0]) == points  # which is the same points in each run


def kill_at(server, options, choose):
    """One run for each of the points that `choose` makes of their number: killed there, and started again."""
    reference = server.new()
    _, text = server.run(reference, options)
    points, expected = int(text.split("points ")[1].split()[0]), outcome(reference)
    for fault in choose(points):
        where = server.new()
        assert server.run(where, options, fault=fault)[0] == -signal.SIGKILL
        assert_readable(where)
        assert finish(server, where, options) == expected, f"killed at point {fault} of {points}"


@pytest.mark.long
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_kind_of_run(server, name):
    if server.backend != NUMPY and name == "views":
        pytest.skip("the cache is the core's")
    kill_at(server, SCENARIOS[name], lambda points: range(1, points, max(points // 12, 1)))


@pytest.mark.long
def test_every_point(server):
    """On NumPy one kill at each of the points; on a framework at every fifteenth."""
    kill_at(server, SCENARIOS["cached"], lambda points: range(1, points + 1, 1 if server.backend == NUMPY else 15))


@pytest.mark.long
def test_two_hundred_kills_at_random_moments(server):
    rng, kills, runs, left = random.Random(0), 0, 0, []
    references = {}
    for name in ("cached", "uncached", "augmented"):
        where, began = server.new(), time.monotonic()
        server.run(where, SCENARIOS[name])
        references[name] = outcome(where), time.monotonic() - began
    while kills < 200:
        name = rng.choice(list(references))
        expected, seconds = references[name]
        where, here = server.new(), 0
        while server.run(where, SCENARIOS[name], after=rng.uniform(0, seconds))[0] != 0:
            here += 1
            assert_readable(where)
        kills, runs = kills + here, runs + 1
        left.append(here)
        assert outcome(where) == expected, f"{name}, after {here} kills"
    print(f"{server.backend}: {kills} kills in {runs} runs, up to {max(left)} in one; every hash equal")


@pytest.mark.long
def test_what_torch_began_before_it_was_killed_tensorflow_finishes(table, tmp_path):
    options = {**SCENARIOS["uncached"], "precision": "fp64", "train_norm": False, "optimizer": "sgd"}
    torch, tensorflow = (Server(name, table, tmp_path) for name in ("torch", "tensorflow"))
    try:
        _, text = torch.run(tmp_path / "whole", options)
        points = int(text.split("points ")[1].split()[0])
        assert torch.run(tmp_path / "two", options, fault=points * 2 // 3)[0] == -signal.SIGKILL
        code, text = tensorflow.run(tmp_path / "two", options, resume=True)
        assert code == 0, text
    finally:
        torch.close()
        tensorflow.close()
    whole, two = (json.loads((tmp_path / name / "run" / "metrics.json").read_text()) for name in ("whole", "two"))
    assert (whole["backend"], two["backend"]) == ("torch", "tensorflow")
    assert 0 < two["resumed"]["epoch"] < 4
    for ours, theirs in zip(two["epochs"], whole["epochs"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-9)
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-9)
