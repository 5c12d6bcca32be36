"""scikit-learn's classifiers as heads: the same answers as scikit-learn alone, stored without pickle."""

import pickle
from typing import get_args

import numpy as np
import pytest
from sklearn.ensemble import AdaBoostClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import xfer
from xfer.checkpoints.estimators import loads
from xfer.errors import CheckpointError, NumbersError, UsageError
from xfer.specs.choices import EstimatorName
from xfer.specs.estimator import by_name
from xfer.testing import NumpyBackend
from xfer.workflows.config import run_settings

PIPE = make_pipeline(StandardScaler(), LogisticRegression())


def build(head):
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=list("abc"), image_size=16, head=head)


@pytest.mark.parametrize(
    "estimator",
    [PIPE, RandomForestClassifier(10, random_state=0), LinearSVC(), AdaBoostClassifier(random_state=0),
     HistGradientBoostingClassifier(max_iter=5)],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_it_is_scikit_learn_on_the_features(estimator, data, tmp_path):
    model = build(xfer.Head.sklearn(estimator))
    with pytest.raises(UsageError, match="has not been fitted"):
        model.predict(data.val)
    trainer = xfer.Trainer(model, progress=False)
    (row,) = trainer.fit(data, 5)
    # The loader's order matters to some: the same features in that order.
    order = np.random.default_rng([0, 0]).permutation(60)
    alone = estimator.fit(model.features(data.train)[order], data.train.labels[order])
    expected = alone.predict(model.features(data.val))
    found = model.evaluate(data)
    np.testing.assert_array_equal(found.predicted, expected)
    assert row["val_accuracy"] == (expected == data.val.labels).mean()
    if hasattr(alone, "predict_proba"):
        probabilities = alone.predict_proba(model.features(data.val))
        np.testing.assert_allclose(model.predict_proba(data.val), probabilities, atol=1e-6)
    trainer.save(tmp_path)
    again = xfer.load(tmp_path, backend=NumpyBackend())
    np.testing.assert_array_equal(again.evaluate(data).predicted, expected)
    assert again.evaluate(xfer.extract(again, data)).metrics["accuracy"] == found.metrics["accuracy"]


@pytest.mark.parametrize("name", get_args(EstimatorName))
def test_every_word_of_the_configuration_is_a_head(name, data):
    model = build(xfer.Head.sklearn(by_name(name, seed=0)))
    xfer.Trainer(model, progress=False).fit(data)
    assert model.evaluate(data).metrics["accuracy"] > 0.8
    assert run_settings({"data": "digits", "estimator": name}).estimator == name


def test_classes_that_were_never_seen_are_improbable(data):
    split = data.train.subset(np.flatnonzero(data.train.labels < 2))
    model = build(xfer.Head.sklearn(PIPE))
    xfer.Trainer(model, progress=False).fit(xfer.Data(split, None, None, data.classes, "two"))
    assert model.predict_proba(data.val)[:, 2].max() < 1e-30


def test_what_is_no_classifier_is_refused():
    for wrong in (Ridge(), LogisticRegression, "svm"):
        with pytest.raises(UsageError, match="is no classifier with predict_proba"):
            xfer.Head.sklearn(wrong)


class Evil:
    def __reduce__(self):
        return print, ("boom",)


def test_foreign_types_and_pickles_are_refused(tmp_path, capsys):
    import skops.io

    with pytest.raises(CheckpointError, match="refused"):
        loads(skops.io.dumps(PIPE.set_params(logisticregression__C=Evil())), "file")
    with pytest.raises(CheckpointError, match="cannot be read"):
        loads(pickle.dumps(Evil()), "file")
    assert "boom" not in capsys.readouterr().out
    PIPE.set_params(logisticregression__C=1.0)


@pytest.mark.parametrize(
    "estimator", [PIPE, HistGradientBoostingClassifier(max_iter=5)], ids=lambda e: type(e).__name__
)
def test_features_that_are_no_numbers_have_no_answer(estimator, data):
    """Also where the estimator itself would take them."""
    model = build(xfer.Head.sklearn(estimator))
    xfer.Trainer(model, progress=False).fit(data, 1)
    model.set_weights({"layer1.bn.bias": np.full(16, np.inf, np.float32)})
    for ask in (model.predict, model.evaluate):
        with pytest.raises(NumbersError, match=r"not finite in all 15 samples: .*weights of block 'layer1'"):
            ask(data.val)
