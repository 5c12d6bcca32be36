"""The linear probe against scikit-learn's cross-validation, neighbours against a search by hand, Wilson's interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xfer.evaluation.probe import fold_count, linear_probe, nearest_neighbours
from xfer.evaluation.significance import wilson


def problem(images, classes, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = rng.normal(size=(classes, 6))
    return (1.2 * rng.normal(size=(images, 6)) + centres[labels]) * [1, 10, 100, 1, 1, 1] + 5, labels


@pytest.mark.parametrize(("images", "classes", "seed"), [(60, 2, 0), (65, 3, 7)])
def test_the_probe_has_the_accuracy_of_cross_val_score(images, classes, seed):
    features, labels = problem(images, classes, seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=2 / features.shape[1], max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_score(model, features, labels, cv=folds)
    sizes = [len(judged) for _, judged in folds.split(features, labels)]
    right = linear_probe(features.astype(np.float32), labels, seed) == labels
    assert right.mean() == pytest.approx(np.average(scores, weights=sizes))
    assert 0.4 < right.mean() < 1


def test_no_image_is_judged_by_a_probe_that_has_seen_it():
    """With labels drawn by lot, a probe that had seen them would know them."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(100, 300)), rng.integers(0, 2, 100)
    assert (linear_probe(features, labels) == labels).mean() < 0.7


def test_folds_of_small_classes(recwarn):
    labels = np.array([0] * 9 + [1] * 2)
    features = np.eye(2)[labels] * 5 + np.random.default_rng(0).normal(size=(11, 2)) / 10
    assert fold_count(labels) == 5
    assert (linear_probe(features, labels)[:9] == 0).all()
    assert fold_count(np.array([0, 0, 0, 1, 1])) == 3
    assert set(linear_probe(np.arange(10.0).reshape(5, 2), np.array([0, 0, 0, 1, 1]))) <= {0, 1}
    assert [str(warning.message) for warning in recwarn] == []


def by_hand(features, labels):
    found = []
    for i, row in enumerate(features):
        others = [
            (float(row @ other / (np.linalg.norm(row) * np.linalg.norm(other))), int(label))
            for j, (other, label) in enumerate(zip(features, labels, strict=True))
            if j != i
        ]
        nearest = sorted(others, reverse=True)[:5]
        votes = {
            label: (sum(1 for _, each in nearest if each == label), sum(s for s, each in nearest if each == label))
            for _, label in nearest
        }
        found.append(max(votes, key=votes.get))
    return np.array(found)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40), st.integers(2, 5), st.integers(0, 2**31))
def test_neighbours_are_those_of_a_search_by_hand(images, classes, seed):
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(size=(images, 4)), rng.integers(0, classes, images)
    np.testing.assert_array_equal(nearest_neighbours(features, labels), by_hand(features, labels))


def test_neighbours_in_parts_are_those_of_all(monkeypatch):
    features, labels = problem(50, 3)
    whole = nearest_neighbours(features, labels)
    monkeypatch.setattr("xfer.evaluation.probe._CHUNK", 150)  # three images at a time
    np.testing.assert_array_equal(nearest_neighbours(features, labels), whole)


def test_a_feature_vector_of_zeros_is_near_to_nothing_and_no_error():
    features = np.vstack([np.zeros(3), np.eye(3)[[0, 0, 1, 1]]])
    assert set(nearest_neighbours(features, np.array([0, 0, 0, 1, 1]))) <= {0, 1}


@pytest.mark.parametrize(("right", "images"), [(0, 7), (5, 9), (240, 245), (10, 10)])
def test_wilson_is_where_the_score_test_has_its_level(right, images):
    """The bounds are the shares p with |right / n - p| = z * sqrt(p (1 - p) / n)."""
    z = 1.959963984540054
    for bound in wilson(right, images, 0.95):
        assert abs(right / images - bound) == pytest.approx(z * np.sqrt(bound * (1 - bound) / images), abs=1e-9)
