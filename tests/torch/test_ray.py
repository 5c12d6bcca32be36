"""Two workers of Ray Train on a cluster of this machine make the run that one process makes."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import xfer
from tests.suites.ray_cluster import finished, nodes, wait_for


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


def words(photos, out, *options):
    command = [
        "train",
        str(photos),
        "--model",
        "tiny",
        "--weights",
        "none",
        "--image-size",
        "32",
        "--precision",
        "fp64",
    ]
    command += ["--batch-size", "7", "--epochs", "2", "--fine-tune", "2", "--device", "cpu", "--no-train-norm"]
    return [*command, "--out", str(out), "--json", *options]


def train(photos, out, *options):
    command = [sys.executable, "-m", "xfer", *words(photos, out, *options)]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_TRAIN_ENABLE_STATE_TRACKING": "0"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def check_same(two, alone):
    for ours, theirs in zip(two["epochs"], alone["epochs"], strict=True):
        for name in ("loss", "val_loss", "val_accuracy"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-9)


@pytest.mark.long
def test_two_workers_make_the_run_of_one_process(photos, tmp_path):
    alone = train(photos, tmp_path / "alone", "--backend", "torch")
    two = train(photos, tmp_path / "two", "--backend", "torch", "--launcher", "ray", "--processes", "2")
    assert two.returncode == 0, two.stderr[-3000:]
    check_same(json.loads(two.stdout), json.loads(alone.stdout))
    weights = [xfer.load(tmp_path / run, backend="torch").weights() for run in ("two", "alone")]
    for name, array in weights[0].items():
        np.testing.assert_allclose(array, weights[1][name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.long
def test_two_workers_go_on_when_the_machine_of_one_is_killed(photos, tmp_path):
    options = ("--backend", "torch", "--checkpoint-steps", "1", "--epochs", "0", "--fine-tune", "12")
    alone = train(photos, tmp_path / "alone", *options)
    out = tmp_path / "two"
    with nodes(2) as cluster:
        process = cluster.start(*words(photos, out, *options, "--launcher", "ray", "--processes", "2"))
        wait_for(lambda: (out / "checkpoints" / "00000006").exists(), process)
        cluster.kill_one()
        cluster.add_one()
        two = json.loads(finished(process)[0])
    assert two["resumed"]["batch"] + 4 * two["resumed"]["epoch"] >= 5
    check_same(two, json.loads(alone.stdout))


@pytest.mark.long
def test_what_a_worker_refuses_is_said_in_one_line(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos/train/a/12.png").write_bytes(b"no image")
    options = ("--backend", "torch", "--launcher", "ray", "--processes", "2", "--on-bad", "raise")
    done = train(tmp_path / "photos", tmp_path / "run", *options)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: cannot read train/a/12.png: "), done.stderr[-2000:]
