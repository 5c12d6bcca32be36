"""Jobs on a Ray cluster of which a node is killed: what they write is what one process writes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import xfer
from tests.suites.ray_cluster import FAST, SLOW, finished, nodes, wait_for
from tests.suites.stores import store, upload
from xfer.features.cache import FeatureCache
from xfer.runtime.remote import RemotePath
from xfer.testing import NumpyBackend

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two classes."""
    path = tmp_path_factory.mktemp("run")
    xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16).save(path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """600 images of two classes, of which two cannot be read."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(600):
        place = folder / "ab"[i % 2]
        place.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(place / f"{i:03}.bmp")
    for name in ("a/100.bmp", "b/599.bmp"):
        (folder / name).write_bytes(b"BM")
    return folder


def alone(*words, **environment):
    """`xfer` in one process, at full speed."""
    command = [sys.executable, "-m", "xfer", *(str(word).replace(SLOW, FAST) for word in words)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_table_of_predictions_is_that_of_one_process(run, photos, tmp_path):
    images = tmp_path / "images.txt"  # 4,800, by relative and absolute paths
    listed = sorted(photos.glob("*/*"))
    images.write_text("\n".join([*map(str, listed), *(os.path.relpath(path, tmp_path) for path in listed)] * 4))
    words = ("predict", run, images, "--backend", SLOW, "--batch-size", "16", "--json")
    with nodes(2) as cluster:
        table = tmp_path / "table.csv"
        process = cluster.start(*words, "--out", table, "--launcher", "ray", "--processes", "2")
        parts = tmp_path / "table.csv.parts"
        wait_for(lambda: len(list(parts.glob("0*.part"))) >= 2, process)
        written = {path: path.stat().st_mtime_ns for path in parts.glob("0*.part")}
        cluster.kill_one()
        wait_for(lambda: len(list(parts.glob("0*.part"))) > len(written), process)
        assert {path: path.stat().st_mtime_ns for path in written} == written  # nothing is made again
        out, said = finished(process)
        assert "was lost" in said
    alone(*words, "--out", tmp_path / "alone.csv")
    assert table.read_bytes() == (tmp_path / "alone.csv").read_bytes()
    assert json.loads(out)["unreadable"] == 16


def test_features_are_those_of_one_process(run, photos, tmp_path):
    words = ("features", photos, "--model", run, "--backend", SLOW, "--batch-size", "4", "--json")
    with nodes(2) as cluster:
        cluster.environment["XFER_FEATURES"] = str(tmp_path / "cluster")
        process = cluster.start(*words, "--launcher", "ray", "--processes", "2")
        wait_for(lambda: list((tmp_path / "cluster").glob("*/*.rows")), process)
        cluster.kill_one()
        out, said = finished(process)
        assert "was lost" in said
    made = json.loads(alone(*words, XFER_FEATURES=str(tmp_path / "alone")))
    assert {**json.loads(out), "folder": None} == {**made, "folder": None}
    assert (made["made"], made["unreadable"]) == (598, 2)
    rows = []
    for folder in ("cluster", "alone"):
        model = xfer.load(run, backend=NumpyBackend())
        segments = list((tmp_path / folder).glob("*/*.rows"))
        assert sum(path.stat().st_size for path in segments) == 256 + 598 * (64 + 4 * model.card.feature_dim)
        found, used = FeatureCache(tmp_path / folder).data(model, xfer.data.folder(photos), "features", 4, 0)
        assert used.computed == 0
        rows.append(np.stack([found.train.images[i] for i in (0, 1, 50, 77)]))
    np.testing.assert_array_equal(*rows)


def test_an_evaluation_is_that_of_one_process(run, photos, tmp_path):
    words = ("evaluate", run, photos, "--backend", SLOW, "--batch-size", "16", "--json")
    with nodes(2) as cluster:
        ray = ("--launcher", "ray", "--processes", "2")
        plain, flipped = (finished(cluster.start(*words, *more, *ray))[0] for more in ((), ("--tta", "flip")))
        wrong = cluster.start("evaluate", run, photos, "--on-bad", "raise", "--backend", SLOW, *ray)
        _, said = wrong.communicate(timeout=120)
        assert wrong.returncode == 1
        assert said.strip().splitlines()[-1].startswith("error: cannot read ")
    assert json.loads(plain) == json.loads(alone(*words))
    assert json.loads(flipped) == json.loads(alone(*words, "--tta", "flip"))


def training(photos, out):
    words = ("train", photos, "--model", "tiny", "--weights", "none", "--image-size", "16", "--precision", "fp64")
    words += ("--backend", SLOW, "--limit", "100", "--batch-size", "8", "--epochs", "0", "--fine-tune", "3")
    return (*words, "--train-norm", "--no-cache", "--seed", "3", "--checkpoint-steps", "4", "--out", out, "--json")


def test_training_goes_on_from_the_last_checkpoint(photos, tmp_path):
    out = tmp_path / "run"
    with nodes(1) as cluster:
        process = cluster.start(*training(photos, out), "--launcher", "ray")
        wait_for(lambda: (out / "checkpoints" / "00000003").exists(), process)
        cluster.kill_one()
        cluster.add_one()
        document = json.loads(finished(process)[0])
    same = json.loads(alone(*training(photos, tmp_path / "alone")))
    assert document["resumed"]["batch"] + 13 * document["resumed"]["epoch"] >= 12
    losses = [[(row["loss"], row["val_loss"]) for row in each["epochs"]] for each in (document, same)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3
    weights = [next(folder.glob("model-*.safetensors")).read_bytes() for folder in (out, tmp_path / "alone")]
    assert weights[0] == weights[1]


def test_data_and_run_in_a_store_need_no_shared_folder(photos, tmp_path, monkeypatch):
    """Photos and run on S3: a new node goes on from what the lost one uploaded, and a table is made from there."""
    monkeypatch.setenv("XFER_HOME", str(tmp_path / "home"))
    with store("s3", None) as url, nodes(1) as cluster:
        upload(photos, f"{url}/photos")
        process = cluster.start(*training(f"{url}/photos", f"{url}/run"), "--launcher", "ray")
        last = RemotePath(f"{url}/run/checkpoints/00000003/manifest.json")

        def uploaded():
            last.forget()
            return last.exists()

        wait_for(uploaded, process)
        cluster.kill_one()
        cluster.add_one()
        document = json.loads(finished(process)[0])
        table = tmp_path / "table.csv"
        words = ("predict", f"{url}/run", f"{url}/photos", "--backend", SLOW, "--batch-size", "16", "--out", table)
        finished(cluster.start(*words, "--launcher", "ray"))
        weights = xfer.load(f"{url}/run", backend=NumpyBackend()).weights()
    same = json.loads(alone(*training(photos, tmp_path / "alone")))
    assert document["resumed"] is not None
    assert [row["loss"] for row in document["epochs"]] == [row["loss"] for row in same["epochs"]]
    for name, array in xfer.load(tmp_path / "alone", backend=NumpyBackend()).weights().items():
        np.testing.assert_array_equal(weights[name], array)
    alone(
        "predict", tmp_path / "alone", photos, "--backend", SLOW, "--batch-size", "16", "--out", tmp_path / "alone.csv"
    )
    assert table.read_text().replace(url, "") == (tmp_path / "alone.csv").read_text().replace(str(photos), "/photos")


def test_a_worker_that_refuses_is_not_started_again(photos, tmp_path):
    with nodes(1) as cluster:
        words = [*training(photos, tmp_path / "run"), "--on-bad", "raise", "--launcher", "ray"]
        words[words.index("--limit") + 1] = "600"
        process = cluster.start(*words)
        _, said = process.communicate(timeout=200)
    assert process.returncode == 1
    assert said.strip().splitlines()[-1].startswith("error: cannot read "), said[-3000:]
    assert said.count("Started training worker group") <= 1, said[-3000:]
