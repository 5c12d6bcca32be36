"""Two workers of Ray Train on a cluster of this machine make the run that one process makes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import xfer


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(36):
        place = folder / ("val" if i < 12 else "train") / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
        pixels[..., i % 2] //= 3
        Image.fromarray(pixels).save(place / f"{i}.png")
    return folder


def train(photos, out, *options):
    command = [sys.executable, "-m", "xfer", "train", str(photos), "--model", "tiny", "--weights", "none"]
    command += ["--image-size", "32", "--precision", "fp64", "--batch-size", "7", "--epochs", "2", "--fine-tune", "2"]
    command += ["--device", "cpu", "--no-train-norm", "--out", str(out), "--json", *options]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_TRAIN_ENABLE_STATE_TRACKING": "0"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.long
def test_two_workers_make_the_run_of_one_process(photos, tmp_path):
    alone = train(photos, tmp_path / "alone", "--backend", "torch")
    two = train(photos, tmp_path / "two", "--backend", "torch", "--launcher", "ray", "--processes", "2")
    assert two.returncode == 0, two.stderr[-3000:]
    ours, theirs = (json.loads(done.stdout)["epochs"] for done in (two, alone))
    assert len(ours) == 4
    for a, b in zip(ours, theirs, strict=True):
        for name in ("loss", "val_loss", "val_accuracy"):
            assert a[name] == pytest.approx(b[name], rel=1e-9)
    weights = [xfer.load(tmp_path / run, backend="torch").weights() for run in ("two", "alone")]
    for name, array in weights[0].items():
        np.testing.assert_allclose(array, weights[1][name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.long
def test_what_a_worker_refuses_is_said_in_one_line(photos, tmp_path):
    done = train(
        photos, tmp_path / "run", "--backend", "torch", "--launcher", "ray", "--processes", "2", "--mix", "cutmix"
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "blends images of one batch" in last, done.stderr[-2000:]
