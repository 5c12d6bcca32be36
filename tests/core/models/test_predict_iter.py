"""`predict_iter` gives the predictions of `predict`, one after another."""

import itertools

import numpy as np
import pytest
from PIL import Image

import xfer
from xfer.data import Skipped
from xfer.data.dataset import UNLABELLED, Split
from xfer.errors import DataError, UsageError
from xfer.models import predictor
from xfer.specs.decision import Decision
from xfer.testing import NumpyBackend


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    found = [tmp_path / f"{i}.png" for i in range(11)]
    for path in found:
        Image.fromarray(rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)).save(path)
    return found


@pytest.fixture
def small(monkeypatch):
    """Windows of two batches."""
    monkeypatch.setattr(predictor, "window", lambda classes, batch_size: 2 * batch_size)


def another(model, seed):
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, seed=seed, classes=model.classes, image_size=16)


def test_whole_batches_and_bounded():
    for classes, size in itertools.product((1, 2, 1000, 22_000), (1, 7, 32, 256, 5000)):
        found = predictor.window(classes, size)
        assert found % size == 0
        assert found == size or found * classes <= 2**21
        assert found >= min(512, 2**21 // classes) - size + 1 or found == size


@pytest.mark.parametrize("options", [{}, {"tta": "flip", "batch_size": 3}, {"top": 2, "batch_size": 1}])
@pytest.mark.parametrize("kind", ["model", "ensemble"])
def test_the_predictions_of_predict(model, paths, small, options, kind):
    model.decision = Decision(2.0, (0.2, 0.3, 0.5))
    if kind == "ensemble":
        model = xfer.Ensemble((model, another(model, 1)), (1, 3))
    expected = model.predict(paths, **options)
    for images in (paths, list(map(str, paths)), iter(paths), xfer.data.pictures(paths)):
        assert list(model.predict_iter(images, **options)) == expected
    paths[4].write_bytes(b"")
    paths[8].unlink()
    reasons = {4: "the file is empty", 8: "there is no such file"}
    skipped = {i: Skipped(str(paths[i]), reason) for i, reason in reasons.items()}
    found = list(model.predict_iter(paths, **options))
    assert {i: each for i, each in enumerate(found) if isinstance(each, Skipped)} == skipped
    alone = model.predict([path for path in paths if path.exists() and path.stat().st_size], **options)
    for ours, theirs in zip((each for each in found if not isinstance(each, Skipped)), alone, strict=True):
        assert ours.label == theirs.label
        np.testing.assert_allclose([p for _, p in ours.top], [p for _, p in theirs.top], rtol=1e-6)


def test_an_endless_iterator(model, paths):
    found = model.predict_iter(itertools.cycle(paths), batch_size=11)
    first = list(itertools.islice(found, 11))
    assert first == list(itertools.islice(found, 11))
    assert first == model.predict(paths, batch_size=11)


def test_several_tasks(paths, small):
    tasks = (
        xfer.Task("kind", classes=("a", "b")),
        xfer.Task("size", "regression", classes=("size",), mean=(5.0,), std=(2.0,)),
    )
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, tasks=tasks, image_size=16)
    paths[1].write_bytes(b"")
    found = list(model.predict_iter(paths, batch_size=3))
    expected = model.predict_tasks(paths, batch_size=3, on_bad="report")
    assert found[1] == Skipped(str(paths[1]), "the file is empty")
    for i in (0, *range(2, 11)):
        assert found[i] == {
            "kind": dict(zip("ab", expected["kind"][i], strict=True)),
            "size": {"size": expected["size"][i, 0]},
        }
    with pytest.raises(UsageError, match="call predict_tasks or predict_iter"):
        model.predict(paths)
    with pytest.raises(UsageError, match="leave tta out with several"):
        next(model.predict_iter(paths, tta="flip"))


def test_columns(paths, small):
    """Those that each member of an ensemble reads, by name, from rows or from a split that has more."""
    rows = [{"age": i, "place": "xyz"[i % 3], "other": i * i} for i in range(11)]
    members = []
    for seed, names in enumerate((("age", "place"), ("place",))):
        cells = np.array([[row[name] for name in names] for row in rows], object)
        split = Split(paths, np.arange(11) % 2, list(map(str, paths)), ("a", "b"), columns=cells, column_names=names)
        columns = xfer.Columns.fit(xfer.Data(split, None, None, ("a", "b"), "made"))
        options = {"weights": None, "seed": seed, "classes": ["a", "b"], "image_size": 16, "columns": columns}
        members.append(xfer.load("tiny", backend=NumpyBackend(), **options))
    for model in (*members, xfer.Ensemble(tuple(members))):
        expected = model.predict(paths, columns=rows, batch_size=3)
        assert len({prediction.probability for prediction in expected}) == 11
        assert list(model.predict_iter(paths, columns=iter(rows), batch_size=3)) == expected
        cells = np.array([[row[name] for name in ("other", "age", "place")] for row in rows], object)
        wide = {"columns": cells, "column_names": ("other", "age", "place")}
        split = Split(paths, np.full(11, UNLABELLED), list(map(str, paths)), **wide)
        assert list(model.predict_iter(split, batch_size=3)) == expected
        with pytest.raises(DataError, match="expected one row for each of"):
            list(model.predict_iter(paths, columns=rows[:8]))
        with pytest.raises(DataError, match="more rows of columns than images"):
            list(model.predict_iter(paths, columns=[*rows, rows[0]]))
    with pytest.raises(DataError, match="reads columns age, place beside the image"):
        next(members[0].predict_iter(paths))
