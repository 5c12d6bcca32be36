"""The feature cache: the same run, computed once; never stale, never half-written, never more than it may take."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier
from typer.testing import CliRunner

import xfer
from xfer.cli.app import app
from xfer.data.images.decode import BadImageError, decode
from xfer.data.transforms.augment import Augment
from xfer.errors import DataError, UsageError
from xfer.features.boundary import boundary
from xfer.features.cache import CacheUse, FeatureCache
from xfer.features.store import Writer, find
from xfer.models.network import Network
from xfer.models.spec import ModelSpec
from xfer.testing import NumpyBackend
from xfer.testing.numpy_backend.model import NumpyModel
from xfer.training import loaders as feeding
from xfer.training.callback import Callback
from xfer.workflows import run, setup
from xfer.workflows.bagging import bag
from xfer.workflows.config import train_config


def build(precision="fp64", **options):
    settings = {"weights": None, "classes": list("abc"), "image_size": 16, "precision": precision} | options
    return xfer.load("tiny", backend=NumpyBackend(), **settings)


def plan(model, unfrozen, norm=True):
    model.freeze()
    model.unfreeze(last=unfrozen)
    if not norm:
        model.freezer.freeze_norm()
    return model


@pytest.mark.parametrize(("unfrozen", "norm"), [(0, True), (1, True), (1, False)])
@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_the_same_run(data, tmp_path, unfrozen, norm, precision):
    """Losses, validation and weights, to rounding; unreadable images leave the same gaps."""
    images = [data.train.images[i] for i in range(60)]
    images[7] = b"nothing"
    broken = replace(data, train=xfer.data.Split(images, data.train.labels, data.train.names, data.classes))
    found = []
    for cache in (False, tmp_path):
        model = plan(build(precision), unfrozen, norm)
        trainer = xfer.Trainer(model, lr=0.02, cache=cache, progress=False, sampling="balanced", batch_size=16)
        found.append((trainer.fit(broken, 4), model.weights(), [s.name for s in trainer.skipped]))
    bound = 1e-5 if precision == "fp32" else 1e-11
    for row, other in zip(found[0][0], found[1][0], strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=bound)
        assert other["val_loss"] == pytest.approx(row["val_loss"], rel=bound)
        assert other["images"] == row["images"]
    for name, array in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], array, rtol=100 * bound, atol=bound, err_msg=name)
    assert found[0][2] == found[1][2] == ["7"]
    assert trainer.cached.computed == 59 + 15


def test_one_pass_for_all_epochs_and_none_for_the_next_run(data, tmp_path, monkeypatch):
    passes = []
    normalise = NumpyModel.normalise

    def counted(self, images):
        passes.append(len(images))
        return normalise(self, images)

    monkeypatch.setattr(NumpyModel, "normalise", counted)
    for expected in (CacheUse(0, 75, 16 * 8), CacheUse(75, 0, 16 * 8)):
        passes.clear()
        trainer = xfer.Trainer(plan(build(), 0), cache=tmp_path, progress=False)
        trainer.fit(data, 5)
        assert trainer.cached == expected
        blank = 1 if expected.computed else 0
        assert sum(passes) == expected.computed + blank, "one blank image is passed to learn the size of a row"


def test_rows_are_shared_by_subsets_and_copies_are_computed_once(data, tmp_path):
    cache, model = FeatureCache(tmp_path), plan(build(), 0)
    twice = replace(data, train=data.train.subset([0, 1, 2, 0, 1]), val=None)
    _, used = cache.data(model, twice, "features", 4, 0)
    assert used.computed == 5
    assert rows_in(tmp_path) == 3
    found, used = cache.data(model, data, "features", 4, 0)
    assert used.there == 3
    expected = model.features(data.train)
    np.testing.assert_array_equal([found.train.images[i] for i in range(60)], expected)


def rows_in(folder):
    return sum((path.stat().st_size - 256) // (64 + 16 * 8) for path in folder.glob("*/*.rows"))


def test_what_changes_a_row_changes_its_place(data, tmp_path, monkeypatch):
    """Weights, block, preprocessing, precision, versions, device's name: each has a folder of its own."""
    cache, seen = FeatureCache(tmp_path), set()

    def space(model, after="features"):
        _, used = cache.data(plan(model, 0), data, after, 32, 0)
        (new,) = {path.name for path in tmp_path.iterdir() if path.is_dir()} - seen
        seen.add(new)
        return used

    assert space(build()).computed == 75
    assert space(build(), "layer1").computed == 75
    other = build()
    other.set_weights({"conv1.weight": other.weights()["conv1.weight"] + 1e-12})
    assert space(other).computed == 75
    assert space(build("fp32")).computed == 75
    assert space(build(image_size=24)).computed == 75
    assert space(build(missing_pixels="mean")).computed == 75
    assert space(build(decode="draft")).computed == 75
    monkeypatch.setattr(NumpyBackend, "versions", lambda self: {"numpy": "99"})
    assert space(build()).computed == 75
    head = build()
    head.set_weights({"fc.weight": head.weights()["fc.weight"] + 1})
    _, used = cache.data(plan(head, 0), data, "features", 32, 0)
    assert used.there == 75, "the head is not in the rows"


def test_an_image_that_changes_is_another_image(tmp_path):
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for i in range(8):
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(path)
    cache, model = FeatureCache(tmp_path / "cache"), plan(build(), 0)
    data = xfer.data.folder(folder, val=0)
    assert cache.data(model, data, "features", 4, 0)[1].computed == 8
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "a" / "0.png")
    (folder / "a" / "2.png").rename(folder / "a" / "renamed.png")
    found, used = cache.data(model, xfer.data.folder(folder, val=0), "features", 4, 0)
    assert (used.there, used.computed) == (7, 1)
    data = xfer.data.folder(folder, val=0)
    np.testing.assert_array_equal([found.train.images[i] for i in range(8)], model.features(data.train))
    (folder / "a" / "0.png").unlink()
    gone, _ = cache.data(model, data, "features", 4, 0)
    with pytest.raises(BadImageError, match="no such file"):
        gone.train.images[list(data.train.names).index("a/0.png")]


def segments(folder):
    return sorted(folder.glob("*/*.rows"))


def test_damage_is_found_and_mended(data, tmp_path):
    """Cuts and flipped bits anywhere in the files: the rows that come out are right."""
    cache, model = FeatureCache(tmp_path), plan(build(), 0)
    expected = model.features(data.train)
    rng = np.random.default_rng(0)
    for trial in range(60):
        cache.data(model, data, "features", 8, 0)
        file = rng.choice([path for path in segments(tmp_path) if path.stat().st_size > 256])
        content = bytearray(file.read_bytes())
        within = 256 if trial % 3 == 0 else len(content)  # the header, a third of the time
        if rng.random() < 0.5:
            content = content[: rng.integers(within)]
        else:
            content[rng.integers(within)] ^= 1 << rng.integers(8)
        file.write_bytes(content)
        found, _ = cache.data(model, data, "features", 8, 0)
        got = np.array([found.train.images[i] for i in range(60)])
        np.testing.assert_array_equal(got, expected, err_msg=f"{trial}: {file.name}")


def test_every_bit_of_a_header_is_checked(tmp_path):
    """A row whose bytes are whole, but are of another dtype, would pass a checksum of the row alone."""
    digest, rows = b"d" * 32, np.arange(8.0).reshape(1, 8)
    with Writer(tmp_path) as out:
        out.append([digest], rows)
    content = out.path.read_bytes()
    assert find(tmp_path, {digest}).row_bytes == 64
    for bit in range(256 * 8):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        out.path.write_bytes(damaged)
        assert not find(tmp_path, {digest}).places, bit


def test_a_lost_segment_costs_its_rows(data, tmp_path):
    cache, model = FeatureCache(tmp_path), plan(build(), 0)
    others = replace(data, train=data.train.subset(np.arange(59, 29, -1)), val=None)
    cache.data(model, others, "features", 8, 0)
    (lost,) = segments(tmp_path)
    cache.data(model, data, "features", 8, 0)
    lost.unlink()
    for there in (45, 75):
        found, used = cache.data(model, data, "features", 8, 0)
        assert used.there == there
        got = np.array([found.train.images[i] for i in range(60)])
        np.testing.assert_array_equal(got, model.features(data.train))


@pytest.mark.parametrize("count", [1, 3])
def test_shards_need_nothing_from_each_other(data, tmp_path, count):
    """Every part on its own cache, as on machines that share nothing; the files are copied together and found."""
    model, whole = plan(build(), 0), tmp_path / "whole"
    made = 0
    for i in range(count):
        apart = FeatureCache(tmp_path / f"machine{i}")
        used = apart.fill(model, data, shard=f"{i}/{count}", batch_size=8, workers=0)
        again = apart.fill(model, backwards(data), shard=f"{i}/{count}", batch_size=8, workers=0)
        assert (used.there, again.computed) == (0, 0), "the division does not depend on the order of the images"
        assert again.there == used.computed
        made += used.computed
        (whole / used.folder.name).mkdir(parents=True, exist_ok=True)
        for path in used.folder.glob("*.rows"):
            shutil.copy(path, whole / used.folder.name)
    assert made == 75
    trainer = xfer.Trainer(plan(build(), 0), cache=whole, progress=False)
    trainer.fit(data, 2)
    assert trainer.cached == CacheUse(75, 0, 16 * 8)


def backwards(data):
    return replace(data, train=data.train.subset(np.arange(len(data.train))[::-1]))


def test_a_shard_does_not_wait_for_another(data, tmp_path):
    """While one part is locked as by a process that hangs, the other is made, and what is made is found."""
    cache, model = FeatureCache(tmp_path), plan(build(), 0)
    first = cache.fill(model, data, shard="0/2", workers=0)
    with FileLock(first.folder / "0-of-2.lock"):
        second = cache.fill(model, data, shard="1/2", workers=0)
        assert first.computed + second.computed == 75
        _, used = cache.data(model, data, "features", 8, 0)
        assert used == CacheUse(75, 0, 16 * 8)


def test_the_unreadable_belong_to_one_shard(data, tmp_path):
    images = [data.train.images[i] for i in range(60)]
    images[7] = b"nothing"
    broken = replace(data, train=xfer.data.Split(images, data.train.labels, data.train.names, data.classes))
    used = [FeatureCache(tmp_path).fill(plan(build(), 0), broken, shard=f"{i}/4", workers=0) for i in range(4)]
    assert sorted(each.unreadable for each in used) == [0, 0, 0, 1]
    assert sum(each.computed for each in used) == 74


def test_rows_do_not_depend_on_the_head(data, tmp_path):
    cache, model = FeatureCache(tmp_path), build()
    cache.fill(model, data, workers=0)
    model.replace_head(["x", "y"])
    assert cache.fill(model, data, workers=0).computed == 0


def test_rows_do_not_depend_on_auxiliary_classifiers():
    """They lie in a frozen block, have the width of the head, and nothing after them reads what they make."""
    card, keys = xfer.zoo.card("googlenet"), set()
    for classes in (2, 3):
        shapes = {"conv1.conv.weight": (2, 2), "aux1.fc2.weight": (classes, 2), "fc.weight": (classes, 2)}
        model = SimpleNamespace(
            card=card,
            name=card.name,
            backend=NumpyBackend(),
            spec=ModelSpec(card, xfer.Head(), tuple("abc"[:classes]), card.preprocessing),
            shapes=lambda shapes=shapes: shapes,
            read=lambda names, shapes=shapes: {name: np.zeros(shapes[name]) for name in names},
            stages_after=lambda after: (*card.block_names[:-1], "features", "head"),
        )
        keys.add(Network.fingerprint(model, "features"))
    assert len(keys) == 1


def test_only_pictures_are_passed(data, tmp_path):
    with pytest.raises(DataError, match="is outputs of 'features' already: give pictures"):
        FeatureCache(tmp_path).fill(build(), xfer.extract(build(), data, cache=False))


@pytest.mark.parametrize("shard", ["4/4", "-1/4", "0/0", "1", "a/b", "1/2/3", ""])
def test_no_such_shard(data, tmp_path, shard):
    with pytest.raises(UsageError, match="give i/n with 0 <= i < n"):
        FeatureCache(tmp_path).fill(build(), data, shard=shard)


def test_the_command_fills_what_training_reads(tmp_path, monkeypatch):
    monkeypatch.setattr("xfer.models.factory.any_backend", lambda name: NumpyBackend())
    monkeypatch.setenv("XFER_FEATURES", str(tmp_path / "rows"))
    options = ["--model", "tiny", "--weights", "none", "--image-size", "16", "--limit", "40"]
    runner, made = CliRunner(), 0
    for i in range(2):
        result = runner.invoke(app, ["features", "digits", *options, "--shard", f"{i}/2", "--json"])
        assert result.exit_code == 0, result.stderr
        said = json.loads(result.stdout)
        made += said["made"]
        assert (said["found"], said["unreadable"], said["bytes"]) == (0, 0, said["made"] * 16 * 4)
    assert made == 80
    said = runner.invoke(app, ["features", "digits", *options]).stdout
    assert "images: 0 made, 80 found, 0 unreadable" in said
    assert f"rows: {tmp_path / 'rows'}" in said
    result = runner.invoke(app, ["train", "digits", *options, "--epochs", "2", "--out", str(tmp_path / "run")])
    assert "0 images made once, 80 found" in result.stderr
    for wrong, message in ((["--shard", "2/2"], "give i/n"), (["--after", "layer9"], "unknown block 'layer9'")):
        result = runner.invoke(app, ["features", "digits", *options, *wrong])
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1


KILLED = """
import sys, time
import numpy as np
import xfer
from xfer.features.store import Writer
from xfer.testing import NumpyBackend

append = Writer.append
def slow(self, digests, rows):
    append(self, digests, rows)
    print("written", flush=True)
    time.sleep(0.2)
Writer.append = slow
xfer.features.cache._FLUSH = 1
rng = np.random.default_rng(0)
x = rng.integers(0, 256, (200, 16, 16, 3)).astype(np.uint8)
data = xfer.data.arrays(x, np.arange(200) % 3, val=0)
model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=data.classes, image_size=16, precision="fp64")
model.freeze()
trainer = xfer.Trainer(model, lr=0.02, cache=sys.argv[1], batch_size=8, progress=False)
print(trainer.fit(data, 2)[-1]["loss"], trainer.cached.there, flush=True)
"""


def test_a_kill_in_the_middle_leaves_a_cache_that_serves(tmp_path):
    command = [sys.executable, "-c", "import xfer.features.cache\n" + KILLED]
    process = subprocess.Popen([*command, tmp_path / "killed"], stdout=subprocess.PIPE, text=True)
    for _ in range(4):
        process.stdout.readline()
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    outcome = {}
    for name in ("killed", "whole"):
        result = subprocess.run([*command, tmp_path / name], capture_output=True, text=True, check=True)
        outcome[name] = result.stdout.split("\n")[-2].split()
    assert float(outcome["killed"][0]) == pytest.approx(float(outcome["whole"][0]), rel=1e-12)
    assert int(outcome["killed"][1]) >= 24
    assert int(outcome["whole"][1]) == 0


@pytest.mark.parametrize(("limit", "value"), [("_FLUSH", 1), ("_SECONDS", 0.0), ("_FLUSH", 10**9)])
def test_rows_are_written_on_the_way(data, tmp_path, monkeypatch, limit, value):
    """By size or by time, so that a kill costs little."""
    monkeypatch.setattr(xfer.features.cache, limit, value)
    appended, append = [], Writer.append
    monkeypatch.setattr(Writer, "append", lambda *given: (appended.append(len(given[1])), append(*given)))
    FeatureCache(tmp_path).fill(build(), replace(data, val=None), batch_size=20, workers=0)
    assert appended == ([60] if value == 10**9 else [20, 20, 20])


def test_what_does_not_fit_is_not_kept(data, tmp_path, capsys):
    model = plan(build(), 0)
    trainer = xfer.Trainer(model, lr=0.02, cache=FeatureCache(tmp_path, budget=1000), progress=False)
    rows = trainer.fit(data, 2)
    assert trainer.cached is None
    assert len(rows) == 2
    assert "features cannot be cached and are computed in every epoch" in capsys.readouterr().err
    assert rows_in(tmp_path) == 0


def test_the_oldest_goes_first(data, tmp_path):
    cache = FeatureCache(tmp_path, budget=2 * (256 + 75 * (16 * 8 + 64)))
    for seed in range(3):
        cache.data(plan(build(seed=seed), 0), data, "features", 32, 0)
        folders = [path for path in tmp_path.iterdir() if path.is_dir()]
        for path in folders:
            os.utime(path, (seed, seed)) if path.stat().st_mtime > 100 else None
    assert len(folders) == 2


def test_rows_of_other_images_go_where_one_network_fills_the_budget(data, tmp_path):
    """What belongs to this data set stays, also what other shards of it have made."""
    cache, model = FeatureCache(tmp_path, budget=256 * 4 + 75 * (16 * 8 + 64)), plan(build(), 0)
    other = xfer.data.arrays(255 - np.array(data.train.images), np.arange(60) % 3, val=0)
    cache.fill(model, other, workers=0)
    first = cache.fill(model, data, shard="0/2", workers=0)
    assert rows_in(tmp_path) == first.computed, "60 rows and what is to come are too many"
    assert cache.fill(model, data, shard="1/2", workers=0).computed == 75 - first.computed
    assert cache.fill(model, data, workers=0).there == 75
    with pytest.raises(OSError, match="do not fit"):
        FeatureCache(tmp_path, budget=60 * (16 * 8 + 64)).fill(plan(build(seed=5), 0), data, workers=0)
    assert rows_in(tmp_path) == 75, "what cannot fit drives nothing out"


def test_when_it_stays_out_of_the_way(data, tmp_path):
    """Of validation, whose images never change, rows are kept all the same."""
    for options, epochs, unfrozen, expected in (
        ({"augment": "flip"}, 2, 0, 15),
        ({"augment_minority": "flip"}, 2, 0, 15),
        ({"mix": "mixup"}, 2, 0, 15),
        ({}, 1, 0, 15),
        ({"on_bad": "impute"}, 2, 0, None),
        ({}, 2, 9, None),
    ):
        model = build()
        plan(model, 0) if unfrozen == 0 else model.unfreeze()
        trainer = xfer.Trainer(model, cache=tmp_path, progress=False, **options)
        trainer.fit(data, epochs)
        used = trainer.cached
        assert (None if used is None else used.there + used.computed) == expected, options
    assert boundary(build()) is None
    assert boundary(plan(build(), 0)) == "features"
    assert boundary(plan(build(), 1)) == "stem"


@pytest.fixture
def passes(monkeypatch):
    """How many images go through the network from its beginning, in inference and in training."""
    found = []

    def counted(method):
        def call(self, inputs, *arguments):
            found.extend([1] * len(inputs) if inputs.after is None else [])
            return method(self, inputs, *arguments)

        return call

    for name in ("run", "forward"):
        monkeypatch.setattr(NumpyModel, name, counted(getattr(NumpyModel, name)))
    return found


@pytest.mark.parametrize(("unfrozen", "estimator"), [(0, False), (1, False), (0, True)])
def test_evaluation_reads_what_training_kept(data, tmp_path, passes, unfrozen, estimator):
    """After a head, a fine-tuned block or an estimator: answers to rounding, unreadable images by name, no pass."""
    images = [*(data.val.images[i] for i in range(14)), b"nothing"]
    val = xfer.data.Split(images, data.val.labels, data.val.names, data.classes)
    broken = replace(data, val=val)
    model = plan(build(), unfrozen)
    if estimator:
        model.replace_head(data.classes, xfer.Head.sklearn(KNeighborsClassifier()))
    xfer.Trainer(model, cache=tmp_path, progress=False).fit(broken, 2)
    expected = model.evaluate(broken, cache=False)
    passes.clear()
    found = model.evaluate(broken, cache=tmp_path)
    xfer.calibrate(model, broken, cache=tmp_path)
    assert len(passes) == 0
    np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=1e-6)
    assert found.metrics == pytest.approx(expected.metrics)
    assert [bad.name for bad in found.skipped] == [bad.name for bad in expected.skipped] == ["14"]
    with pytest.raises(DataError, match="cannot read 14"):
        model.evaluate(broken, cache=tmp_path, on_bad="raise")
    assert len(model.evaluate(broken, cache=tmp_path, on_bad="impute").names) == 15


def test_evaluation_makes_no_rows(data, tmp_path, passes):
    """Of images that training has not seen, one is enough to look at all as pictures."""
    model = plan(build(), 0)
    model.evaluate(data, cache=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    FeatureCache(tmp_path).fill(model, replace(data, val=data.val.subset(range(14))))
    passes.clear()
    found = model.evaluate(data, cache=tmp_path)
    assert (len(passes), rows_in(tmp_path)) == (15, 74)
    assert found.metrics == pytest.approx(model.evaluate(data, cache=False).metrics)


def test_an_ensemble_of_heads_reads_what_training_kept(data, tmp_path, passes):
    model = build()
    made = bag(model, data, members=3, epochs=1)
    FeatureCache(tmp_path).fill(plan(model, 0), data)
    expected = made.evaluate(data, cache=False)
    passes.clear()
    assert made.evaluate(data, cache=tmp_path).metrics == pytest.approx(expected.metrics)
    assert len(passes) == 0


def test_features_are_kept_and_found(data, tmp_path, passes):
    model = build()
    expected = xfer.extract(model, data, after="layer1", cache=False)
    for made in (75 + 1, 0):
        passes.clear()
        found = xfer.extract(model, data, after="layer1", cache=tmp_path)
        assert len(passes) == made
        np.testing.assert_allclose(found.train.images, expected.train.images, rtol=1e-12)
        np.testing.assert_allclose(found.val.images, expected.val.images, rtol=1e-12)
    passes.clear()
    xfer.extract(model, data, after="layer1", augment="flip", cache=tmp_path)
    assert len(passes) == 60, "what augmentation changes is made anew, validation is not"


@pytest.mark.parametrize(
    "options", [{}, {"augment": "flip"}, {"epochs": 1}, {"resample": "smote"}, {"estimator": "knn"}, {"fine_tune": 2}]
)
def test_a_run_ends_without_a_pass(tmp_path, passes, monkeypatch, options):
    """Calibration, thresholds and evaluation after training read the rows of validation."""
    monkeypatch.setattr("xfer.models.factory.any_backend", lambda name: NumpyBackend())
    monkeypatch.setenv("XFER_FEATURES", str(tmp_path / "rows"))
    small = {"data": "digits", "model": "tiny", "weights": "none", "image_size": 16, "limit": 80, "epochs": 2}
    config = small | {"calibrate": True, "thresholds": "macro_f1", "out": str(tmp_path / "run")} | options
    monkeypatch.setattr(run, "calibrate", lambda *a, **k: passes.clear() or xfer.calibrate(*a, **k))
    result = run.train(train_config(config), progress=False)
    assert len(passes) == 0
    plain = result.model.evaluate(setup.read_data(train_config(config)), cache=False)
    np.testing.assert_allclose(result.evaluation.probabilities, plain.probabilities, rtol=1e-4, atol=1e-6)
    assert len(passes) == 80


def train(data, epochs, cache, **options):
    model = plan(build(), 0)
    settings = {"lr": 0.02, "augment": "flip,crop", "batch_size": 16, "progress": False, "seed": 3} | options
    trainer = xfer.Trainer(model, cache=cache, **settings)
    return [(row["loss"], row["val_loss"], row["images"]) for row in trainer.fit(data, epochs)], trainer


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 23},  # of 47 images, another one is left over in each epoch
        {"sampling": "balanced"},
        {"sampling": "over", "augment": "none", "augment_minority": "strong"},
    ],
)
def test_cached_views_are_those_that_augmentation_draws(data, tmp_path, options):
    """As many epochs as views: the run without a cache. More: the run that sees the same views again."""
    uneven = replace(data, train=data.train.subset([*range(40), *range(40, 60, 3)]))
    images = [uneven.train.images[i] for i in range(len(uneven.train))]
    images[7] = b"nothing"
    uneven = replace(uneven, train=replace(uneven.train, images=images))
    plain, _ = train(uneven, 6, False, **options)
    for views in (6, 4):
        expected, _ = train(uneven, 6, False, cache_views=views, **options)
        found, trainer = train(uneven, 6, tmp_path, cache_views=views, **options)
        assert trainer.cached.computed + trainer.cached.there > 60
        assert [bad.name for bad in trainer.skipped] == ["7"]
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        np.testing.assert_allclose(found[:views], plain[:views], rtol=1e-9)
    assert abs(found[4][0] - plain[4][0]) > 1e-6 * plain[4][0], "the fifth epoch sees the first one's views"


def test_views_are_made_once(data, tmp_path, passes):
    for made, epochs in ((2 * 60, 5), (0, 5), (0, 1)):
        passes.clear()
        _, trainer = train(data, epochs, tmp_path, cache_views=2)
        assert len(passes) == (made + 15 + 2 if made else 0)
        assert trainer.cached.computed == (made + 15 if made else 0)
    train(data, 2, tmp_path, cache_views=3)
    assert len(passes) == 0, "the views of the first epochs do not depend on how many there are"
    for other in ({"seed": 4}, {"augment": "flip"}):
        _, trainer = train(data, 2, tmp_path, cache_views=2, **other)
        assert (trainer.cached.there, trainer.cached.computed) == (15, 120), "validation has no augmentation"


def test_a_view_is_the_augmented_image(data, tmp_path):
    _, trainer = train(data, 3, tmp_path, cache_views=2)
    source = feeding.loaders(trainer, data, 3)[0].split
    model = trainer.model
    for view, index in ((0, 5), (1, 5), (1, 59)):
        rng = np.random.default_rng([3, view, index])
        pixels = Augment.parse("flip,crop")(decode(data.train.images[index]), model.spec.preprocessing, rng)
        expected = model.stage(pixels[None], "features")[0]
        np.testing.assert_allclose(source.images.at(view, index, 0), expected, rtol=1e-12)
    with pytest.raises(KeyError, match="no row for view 2 of image 5"):
        source.images.at(2, 5, 0)


def test_a_resumed_run_sees_the_same_views(data, tmp_path):
    class Interrupt(Callback):
        def on_epoch_end(self, trainer, row):
            if trainer.epoch == 4:
                raise KeyboardInterrupt

    whole, _ = train(data, 6, tmp_path, cache_views=2)
    model = plan(build(), 0)
    settings = {"lr": 0.02, "augment": "flip,crop", "batch_size": 16, "progress": False, "seed": 3}
    trainer = xfer.Trainer(
        model, cache=tmp_path, cache_views=2, callbacks=[Interrupt()], restore_best=False, **settings
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(data, 6)
    trainer.save(tmp_path / "run")
    for cache in (tmp_path, False):
        resumed = xfer.Trainer.resume(tmp_path / "run", backend=NumpyBackend(), cache=cache, progress=False)
        rows = resumed.fit(data)
        np.testing.assert_allclose([row["loss"] for row in rows], [row[0] for row in whole[4:]], rtol=1e-6)


def test_views_that_cannot_be(data):
    with pytest.raises(UsageError, match="cache_views=0: give at least 1"):
        xfer.Trainer(build(), cache_views=0, augment="flip")
    with pytest.raises(UsageError, match="cache_views=2: mix=mixup blends other images each epoch"):
        xfer.Trainer(build(), cache_views=2, augment="flip", mix="mixup")
    with pytest.raises(UsageError, match="not pictures: leave out augmentation"):
        xfer.Trainer(build(), cache_views=2, augment="flip", progress=False).fit(xfer.extract(build(), data), 1)
