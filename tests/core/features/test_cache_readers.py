"""What reads the cache: evaluation, ensembles, extraction, a whole run."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import xfer
from tests.core.features.caching import build, plan, rows_in
from xfer.errors import DataError
from xfer.features.cache import FeatureCache
from xfer.testing import NumpyBackend
from xfer.workflows import run, setup
from xfer.workflows.bagging import bag
from xfer.workflows.config import run_settings


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
    result = run.train(run_settings(config), progress=False)
    assert len(passes) == 0
    plain = result.model.evaluate(setup.read_data(run_settings(config)), cache=False)
    np.testing.assert_allclose(result.evaluation.probabilities, plain.probabilities, rtol=1e-4, atol=1e-6)
    assert len(passes) == 80
