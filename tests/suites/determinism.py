"""One hash: the same run, each time in a process of its own; tests/torch and tests/keras subclass it.

`python -m tests.suites.determinism torch 20` makes 20 repeats of the long runs, and counts the hashes that were found.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Network, pixels and precision: convolutions and batch norm; a real network; attention, with gradients of tables.
SHORT = [["tiny", 24, "fp32"], ["tiny", 24, "bf16"]]
LONG = [*SHORT, ["resnet18", 64, "fp32"], ["resnet18", 64, "bf16"], ["swin_t", 64, "fp32"], ["swin_t", 64, "bf16"]]
THREADS = "2"
WORKERS = (0, 2, 1)


def photos(folder):
    """27 files in three classes."""
    rng = np.random.default_rng(0)
    for i in range(27):
        path = Path(folder) / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 120, (40, 48, 3)) + 100 * (np.arange(3) == i % 3)
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def train(backend, folder, cache, workers, network, size, precision):
    """SHA-256 of weights, slots, history without seconds, and metrics, after a head and fine-tuning.

    With augmentation, dropout and batch norm in the head, batch norm of the backbone trained, outputs of frozen blocks
    cached, clipping and a schedule.
    """
    import xfer

    data = xfer.data.folder(folder, val=0.3)
    head = xfer.Head((16,), 0.3, "batch")
    options = {"weights": None, "classes": data.classes, "head": head, "image_size": size, "precision": precision}
    model = xfer.load(network, backend=backend, device="cpu", **options)
    options = {"augment": "strong", "cache_views": 2, "schedule": "cosine", "clip_norm": 1.0, "batch_size": 5}
    trainer = xfer.Trainer(model, cache=cache, workers=workers, progress=False, **options)
    trainer.fine_tune(data, head_epochs=2, epochs=2, unfreeze=2, train_norm=True)
    found = hashlib.sha256()
    for name, array in (model.weights() | trainer.stepper.state()).items():
        found.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in trainer.history]
    metrics = model.evaluate(data, workers=workers, cache=cache).metrics
    found.update(json.dumps([rows, metrics]).encode())
    return found.hexdigest()


def job(backend, folder, workers, runs):
    """Print the hash of each run; the first is made twice, and finds the cache filled the second time."""
    with tempfile.TemporaryDirectory() as cache:
        found = [train(backend, folder, cache, workers, *run) for run in [runs[0], *runs]]
    print(json.dumps(found))


def repeat(backend, folder, runs, number):
    """What the process of this number finds: the numbers of workers take turns."""
    command = [sys.executable, __file__, "job", json.dumps([backend, folder, WORKERS[number % len(WORKERS)], runs])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), THREADS)
    threads["OMP_WAIT_POLICY"] = "passive"  # threads that spin would take the cores from those of the other process
    process = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return tuple(json.loads(process.stdout.splitlines()[-1]))


def repeats(backend, folder, runs, number):
    """The hashes of all repeats; two run side by side, and get in each other's way."""
    photos(folder)
    with ThreadPoolExecutor(2) as pool:
        return Counter(pool.map(lambda i: repeat(backend, str(folder), runs, i), range(number)))


class Determinism:
    """Set `backend`."""

    backend: str

    @pytest.mark.parametrize(
        ("runs", "number"), [(SHORT, 2), pytest.param(LONG, 20, marks=pytest.mark.long)], ids=["short", "long"]
    )
    def test_repeats_have_one_hash(self, tmp_path, runs, number):
        """In processes of their own, with 0, 1 and 2 workers, with a cache that is empty or filled."""
        found = repeats(self.backend, tmp_path, runs, number)
        assert list(found.values()) == [number], f"{len(found)} outcomes: {found}"
        ((filled, *others),) = found
        assert filled == others[0]
        assert len(set(others)) == len(runs), "a hash that says nothing of the run"


def main(backend, number):
    with tempfile.TemporaryDirectory() as folder:
        found = repeats(backend, folder, LONG, int(number))
    for hashes, times in found.items():
        for (network, size, precision), digest in zip(LONG, hashes[1:], strict=True):
            print(f"{backend} {network} {size} {precision}: {digest} {times} times")
    sys.exit(len(found) > 1)


if __name__ == "__main__":
    if sys.argv[1] == "job":
        job(*json.loads(sys.argv[2]))
    else:
        main(*sys.argv[1:])
