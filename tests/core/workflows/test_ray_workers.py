"""What workers of a cluster are asked and give, without Ray: in another order, through pickle, as in one process."""

import pickle
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import xfer
from tests.suites.stores import store, upload
from xfer.data.sources.lists import listed
from xfer.errors import DataError, UsageError
from xfer.features.cache import FeatureCache
from xfer.features.keys import digests_of
from xfer.features.store import find
from xfer.models import predictor
from xfer.testing import NumpyBackend
from xfer.workflows.opening import Opening
from xfer.workflows.prediction import job as jobs
from xfer.workflows.prediction.identity import model_identity
from xfer.workflows.prediction.job import PredictionJob
from xfer.workflows.prediction.maker import PredictionOptions
from xfer.workflows.ray import evaluation, features, prediction
from xfer.workflows.ray.cluster import cpus_each, shared_paths


class Pool:
    """Two workers in this process, which finish their tasks in reverse order, three at a time."""

    def __init__(self, make, processes, resources):
        self._workers = [pickle.loads(pickle.dumps(make))() for _ in range(processes)]

    def map(self, method, tasks):
        waiting = enumerate(tasks)
        while some := [task for _, task in zip(range(3), waiting, strict=False)]:
            for number, arguments in reversed(some):
                call = getattr(self._workers[number % len(self._workers)], method)
                yield number, pickle.loads(pickle.dumps(call(*pickle.loads(pickle.dumps(arguments)))))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Tasks of two batches."""
    for module in (predictor, jobs, evaluation):
        monkeypatch.setattr(module, "window", lambda classes, batch_size: 2 * batch_size)
    monkeypatch.setattr(features, "_BATCHES", 2)
    monkeypatch.setattr(features, "_HASHED", 5)
    for module in (prediction, features, evaluation):
        monkeypatch.setattr(module, "Pool", Pool)


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run"
    xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16).save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    for i in range(31):
        place = folder / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)).save(place / f"{i:02}.png")
    (folder / "a/02.png").write_bytes(b"")
    (folder / "a/08.png").write_bytes((folder / "b/09.png").read_bytes())  # the same image twice
    return folder


def opening(run):
    return Opening(str(run), "xfer.testing:NumpyBackend", "cpu")


def test_a_table(run, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # workers have another folder: paths that they get are absolute
    images, options = (
        listed(["photos", "photos/a/00.png"]),
        PredictionOptions(batch_size=3, probabilities=True, tta="flip"),
    )
    for name, model in (("one", opening(run)()), ("ray", prediction.OnRay(opening(run), 2, {}))):
        finished, before = PredictionJob(tmp_path / f"{name}.csv").run(model, images, options)
        assert (finished.images, finished.unreadable, before) == (32, 1, False)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "ray.csv").read_bytes()
    # Each knows the table of the other.
    assert PredictionJob(tmp_path / "ray.csv").run(opening(run)(), images, options)[1]
    assert PredictionJob(tmp_path / "one.csv").run(prediction.OnRay(opening(run), 1, {}), images, options)[1]
    part = images.subset([3, 1]).detached()
    assert [path.is_absolute() for path in part.images] == [True, True]
    assert len(pickle.dumps(part)) < 1500


def test_what_is_in_a_store_is_read_by_the_workers(run, photos, tmp_path, monkeypatch):
    """This process asks for no image: it hands over where they are."""
    with store("memory", tmp_path) as url:
        upload(photos, f"{url}/photos")
        images = listed([f"{url}/photos", f"{url}/photos/a/00.png"])
        monkeypatch.setattr("xfer.data.sources.paths.RemotePath.read_bytes", None)
        part = images.subset([3, 31]).detached()
        assert len(pickle.dumps(part)) < 1500
        monkeypatch.undo()
        assert pickle.loads(pickle.dumps(part)).images[1] == (photos / "a/00.png").read_bytes()


def test_a_worker_with_another_model_is_refused(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "10.0.0.7")
    maker = prediction.OnRay(opening(run), 2, {})
    other = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16, seed=1)
    maker._pool._workers[1] = prediction._Worker(lambda: other)
    with pytest.raises(UsageError, match=r"^the worker on 10\.0\.0\.7 has another model than the first: all machines"):
        PredictionJob(tmp_path / "t.csv").run(maker, listed([photos]), PredictionOptions(batch_size=3))


@pytest.mark.parametrize(("after", "shard"), product(("features", "layer1"), ("0/1", "1/2")))
def test_cached_features(run, photos, tmp_path, after, shard):
    data, found = xfer.data.folder(photos, val=0.3), {}
    ray = FeatureCache(tmp_path / "ray")
    one = FeatureCache(tmp_path / "one").fill(opening(run)(), data, after=after, shard=shard, batch_size=4)
    for again in (False, True):
        extractor = features.OnRay(opening(run), after, 2, {})
        used = ray.fill_by(extractor, data, shard=shard, batch_size=4, workers=0)
        assert used.unreadable == one.unreadable
        assert (used.computed, used.there) == ((0, one.computed) if again else (one.computed, 0))
        assert used.folder.name == one.folder.name
    for cache in ("one", "ray"):
        found[cache] = rows_in(tmp_path / cache / one.folder.name, data)
    assert found["one"].keys() == found["ray"].keys()
    for digest, row in found["one"].items():
        np.testing.assert_array_equal(found["ray"][digest], row)


def rows_in(folder, data):
    """The rows of a folder by digest."""
    digests = {digest for split in data.splits.values() for digest in digests_of(split, 0)}
    rows = find(folder, digests)
    return {digest: rows.stores[store][number] for digest, (store, number) in rows.places.items()}


@pytest.mark.parametrize("on_bad", ["report", "impute"])
@pytest.mark.parametrize("tta", ["none", "flip"])
def test_an_evaluation(run, photos, on_bad, tta):
    model, data = opening(run)(), xfer.data.folder(photos)
    collect = evaluation.OnRay(opening(run), str(model_identity(model)["model"]), 2, {})
    options = {"split": "all", "batch_size": 3, "on_bad": on_bad, "tta": tta, "cache": False}
    found, expected = (model.evaluate(data, **options, **more) for more in ({"collect": collect}, {}))
    assert found.metrics == expected.metrics
    assert (found.names, found.skipped) == (expected.names, expected.skipped)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_an_evaluation_of_nothing(run, tmp_path):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / "broken" / name).parent.mkdir(parents=True)
        (tmp_path / "broken" / name).write_bytes(b"")
    model, data = opening(run)(), xfer.data.folder(tmp_path / "broken", val=0)
    collect = evaluation.OnRay(opening(run), str(model_identity(model)["model"]), 2, {})
    said = []
    for more in ({"collect": collect}, {}):
        with pytest.raises(DataError) as caught:
            model.evaluate(data, cache=False, **more)
        said.append(str(caught.value))
    assert said[0] == said[1]
    with pytest.raises(DataError, match=r"^cannot read a/1\.png: "):
        model.evaluate(data, cache=False, collect=collect, on_bad="raise")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=4), st.integers(1, 20))
def test_cpus_are_shared(machines, processes):
    """As many as fit: one more would leave a process without room, or there was none for all with one each."""
    found = cpus_each(machines, processes)

    def fits(each):
        return sum(cpus // each for cpus in machines) >= processes

    assert found == max([each for each in range(1, 13) if fits(each)], default=1)


def test_paths_of_settings_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"data": "photos", "out": "s3://bucket/run", "corrections": None, "seed": 1}
    assert shared_paths(given, "data", "out", "corrections") == {**given, "data": str(tmp_path / "photos")}
    assert shared_paths({"data": "digits"}, "data") == {"data": "digits"}
    assert shared_paths({"data": "~/photos"}, "data") == {"data": str(Path.home() / "photos")}
    (tmp_path / "imagenet").mkdir()
    assert shared_paths({"weights": "imagenet"}) == {"weights": "imagenet"}, "a folder of that name is none of weights"
    assert Opening("tiny", None, "cpu", "imagenet").elsewhere().weights == "imagenet"
    (tmp_path / "resnet18").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "w.pth").touch()
    assert shared_paths({"weights": "w.pth#ema"}) == {"weights": str(tmp_path / "w.pth#ema")}
    assert Opening("resnet18", None, "cpu", "w.pth#ema").elsewhere() == Opening(
        "resnet18", None, "cpu", f"{tmp_path}/w.pth#ema"
    )
    assert Opening("run", None, "cpu").elsewhere() == Opening(f"{tmp_path}/run", None, "cpu")
    assert Opening("hf://ada/ants", None, "cpu").elsewhere() == Opening("hf://ada/ants", None, "cpu")
