# ruff: noqa: N803, N806 - scikit-learn's names
"""scikit-learn's own checks of estimators, through an adapter that makes small images of tables."""

from dataclasses import replace

import numpy as np
import pandas
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from xfer.sklearn import ImageClassifier
from xfer.testing import NumpyBackend

SIDE = 16


class Exact(NumpyBackend):
    """In float64: in float32 some processors round an image's numbers by its place in the batch."""

    def build_network(self, spec):
        return super().build_network(replace(spec, precision="fp64"))


def classifier(**options):
    return ImageClassifier("tiny", backend=Exact(), weights=None, image_size=SIDE, **options)


class Tables(ClassifierMixin, BaseEstimator):
    """Each column of a table is a stripe of grey, between its least and its largest number in training."""

    def __init__(self, epochs=60, lr=0.05):
        self.epochs, self.lr = epochs, lr

    def fit(self, X, y, sample_weight=None):
        if y is not None:
            X, y = validate_data(self, X, y)
        counted = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
        used = X[counted > 0] if counted.shape == (len(X),) and counted.any() else X  # or it is refused below
        self.range_ = used.min(axis=0), used.max(axis=0)
        made = classifier(epochs=self.epochs, lr=self.lr, batch_size=64)
        self.inner_ = made.fit(self.images(X), y, sample_weight)
        self.classes_ = self.inner_.classes_
        return self

    def images(self, X):
        low, high = self.range_
        scaled = np.clip((X - low) / np.where(high > low, high - low, 1), 0, 1)
        stripes = np.resize(np.arange(X.shape[1]), SIDE * SIDE)
        return np.rint(255 * scaled[:, np.sort(stripes)].reshape(-1, SIDE, SIDE)).astype(np.uint8)

    def checked(self, X):
        check_is_fitted(self)
        return self.images(validate_data(self, X, reset=False))

    def predict(self, X):
        images = self.checked(X)
        return self.inner_.predict(images)

    def predict_proba(self, X):
        images = self.checked(X)
        return self.inner_.predict_proba(images)


@parametrize_with_checks([Tables()])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


IMAGES = np.random.default_rng(0).integers(0, 256, (6, SIDE, SIDE)).astype(np.uint8)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        ([0, 1, np.nan, 0, 1, 0], "contains NaN"),
        (["a", None, "b", "a", "b", "a"], "NaN or None"),
        ([0.5, 1.5, 0.1, 0.2, 0.3, 0.4], "Unknown label type"),
        (np.eye(6)[:, :2], "y should be a 1d array"),
        ([0, 1], "6 images and y 2 labels"),
        ([1] * 6, "one class"),
    ],
)
def test_labels_are_refused_as_scikit_learn_does(y, message):
    with pytest.raises(ValueError, match=message):
        classifier().fit(IMAGES, y)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        classifier().predict(IMAGES)


def test_forms_of_images(tmp_path):
    """Grey arrays, and pandas's columns of paths, are what lists of images are."""
    from PIL import Image

    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray(image).save(path)
    y = [0, 1, 0, 1, 0, 1]
    expected = classifier(epochs=2).fit(list(IMAGES), y).predict_proba(list(IMAGES))
    for form in (IMAGES, pandas.Series([str(p) for p in paths]), np.array([str(p) for p in paths])):
        np.testing.assert_array_equal(classifier(epochs=2).fit(form, y).predict_proba(form), expected)


def test_weights_are_those_of_the_losses():
    """Twice the weight is twice the image, and no weight is no image."""
    y, w = np.array([0, 1, 0, 1, 0, 1]), np.array([1.0, 2.0, 1.0, 0.0, 1.0, 1.0])
    chosen = np.repeat(np.arange(6), w.astype(int))
    weighted = classifier(epochs=5, lr=0.05).fit(IMAGES, y, w).predict_proba(IMAGES)
    repeated = classifier(epochs=5, lr=0.05).fit(IMAGES[chosen], y[chosen]).predict_proba(IMAGES)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-4)
