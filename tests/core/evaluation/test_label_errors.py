"""Confident learning against loops over every image, and out-of-fold probabilities against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xfer.data.audit.duplicates import Place
from xfer.errors import DataError
from xfer.evaluation.confident import NO_CLASS, confident_classes, confident_joint, thresholds
from xfer.evaluation.label_errors import judge_labels
from xfer.evaluation.neighbours import neighbour_distances, upper_fence
from xfer.evaluation.out_of_fold import out_of_fold


@pytest.fixture
def clusters():
    """90 images as features of three classes that overlap, and 9 labels exchanged."""
    rng = np.random.default_rng(3)
    true = np.arange(90) % 3
    features = rng.normal(size=(90, 6)) + 5 * np.eye(3, 6)[true]
    labels = true.copy()
    wrong = rng.choice(90, 9, replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, 3, 9)) % 3
    return features, labels, set(wrong.tolist())


def places(labels, classes="abc"):
    return [Place("train", f"{i}.png", classes[n] if n >= 0 else None) for i, n in enumerate(labels)]


def brute_force(labels, probabilities):
    """Equations 1 and 2 of Northcutt et al. 2021, image by image."""
    classes = probabilities.shape[1]
    bounds = []
    for j in range(classes):
        own = [p[j] for p, label in zip(probabilities, labels, strict=True) if label == j]
        bounds.append(sum(own) / len(own) if own else float("inf"))
    joint, found = np.zeros((classes, classes), int), []
    for p, label in zip(probabilities, labels, strict=True):
        above = [j for j in range(classes) if p[j] >= bounds[j]]
        if not above:
            found.append(NO_CLASS)
            continue
        best = max(above, key=lambda j: p[j])
        found.append(best)
        joint[label, best] += 1
    return bounds, found, joint


@pytest.mark.parametrize("seed", range(5))
def test_the_joint_is_that_of_counting(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 6))
    labels = rng.integers(0, classes, 60)
    if seed == 4:
        labels[labels == 1] = 0  # a class without an image
    probabilities = rng.dirichlet(np.full(classes, 0.4), 60)
    bounds, found, joint = brute_force(labels.tolist(), probabilities)
    computed = thresholds(labels, probabilities)
    assert np.where(np.isnan(computed), np.inf, computed) == pytest.approx(bounds)
    assert confident_classes(labels, probabilities).tolist() == found
    assert np.array_equal(confident_joint(labels, probabilities), joint)
    assert (joint.sum() - joint.trace()) > 0


def test_probabilities_are_those_of_cross_val_predict(clusters):
    features, labels, _ = clusters
    model = make_pipeline(StandardScaler(), LogisticRegression(C=2 / 6, tol=1e-9, max_iter=10_000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    expected = cross_val_predict(model, features, labels, cv=folds, method="predict_proba")
    assert out_of_fold(features, labels, np.arange(90)) == pytest.approx(expected, abs=1e-9)


def test_images_of_a_group_are_in_one_fold(clusters):
    """Copies of an image do not teach the classifier its label: the probabilities are those without the copies."""
    features, labels, _ = clusters
    alone = out_of_fold(features, labels, np.arange(90))
    rows = np.concatenate([np.arange(90), np.full(20, 7)])
    copied = out_of_fold(features[rows], labels[rows], rows)
    leaked = out_of_fold(features[rows], labels[rows], np.arange(110))
    assert copied[90:] == pytest.approx(np.tile(alone[7], (20, 1)), abs=1e-9)
    assert abs(leaked[7] - alone[7]).max() > 0.02


def test_too_few_groups_are_refused():
    with pytest.raises(DataError, match=r"classes have \[2, 1\] images"):
        out_of_fold(np.zeros((4, 2)), np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]))
    with pytest.raises(DataError, match="two classes"):
        out_of_fold(np.zeros((4, 2)), np.zeros(4, int), np.arange(4))


@pytest.mark.parametrize("labels", [[0, 1, 1, 0], [0, 0, 1, 1, 1, 0], [0, 1, 0, 1] + [0] * 16])
def test_copies_with_different_labels(labels):
    """Pairs of copies: in some folds there is one class alone."""
    labels, groups = np.array(labels), np.arange(len(labels)) // 2
    features = np.random.default_rng(0).normal(size=(len(labels), 3))
    for seed in range(12):
        assert out_of_fold(features, labels, groups, seed).sum(axis=1) == pytest.approx(1)


def test_exchanged_labels_come_first(clusters):
    features, labels, wrong = clusters
    judged, remark = judge_labels(features, labels, np.arange(90), places(labels), "abc")
    assert not remark
    assert len(judged) == 90
    first = {int(each.place.name[:-4]) for each in judged[:9]}
    assert len(first & wrong) >= 8
    assert [each.score for each in judged] == sorted(each.score for each in judged)
    assert all(each.suggested != each.place.label for each in judged if each.suspected)
    probabilities = out_of_fold(features, labels, np.arange(90))
    joint = brute_force(labels.tolist(), probabilities)[2]
    number = joint.sum() - joint.trace()
    assert number >= sum(each.suspected for each in judged) > 0
    assert not any(each.suspected for each in judged[number:])
    for each in judged[:9]:
        row = probabilities[int(each.place.name[:-4])]
        assert each.suggested == "abc"[row.argmax()]
        assert each.score == pytest.approx(row["abc".index(each.place.label)])


def test_rounding_of_features_keeps_the_ranking(clusters):
    """Another backend's features differ by about 1e-6 of their size."""
    features, labels, _ = clusters
    noise = 1 + 1e-6 * np.random.default_rng(0).standard_normal(features.shape)
    ranking, other = (
        [each.place.name for each in judge_labels(x, labels, np.arange(90), places(labels), "abc")[0]]
        for x in (features, (features * noise).astype(np.float32))
    )
    assert ranking == other


def test_classes_of_one_picture_and_images_without_a_label(clusters):
    features, labels, _ = clusters
    labels = labels.copy()
    labels[:4] = -1
    labels[labels == 2] = -1
    labels[10] = 2
    judged, remark = judge_labels(features, labels, np.arange(90), places(labels, "abcd"), "abcd")
    assert remark == "labels of classes with one picture cannot be judged: c"
    assert len(judged) == int((labels >= 0).sum()) - 1
    assert {each.place.label for each in judged} == {"a", "b"}


def test_a_class_smaller_than_the_folds(clusters):
    features, labels, _ = clusters
    keep = np.r_[np.flatnonzero(labels != 2), np.flatnonzero(labels == 2)[:2]]
    judged, remark = judge_labels(features[keep], labels[keep], np.arange(len(keep)), places(labels[keep]), "abc")
    assert not remark
    assert sum(each.place.label == "c" for each in judged) == 2
    assert all(np.isfinite(each.score) for each in judged)


def test_one_class_is_a_remark():
    judged, remark = judge_labels(np.ones((5, 2)), np.zeros(5, int), np.arange(5), places([0] * 5), "ab", "kind")
    assert not judged
    assert remark == "labels of task kind cannot be judged: fewer than two classes have two different pictures"


def test_distances_are_those_of_sorting_all_pairs():
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=(40, 8)))
    groups = np.arange(40)
    groups[1] = 0
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for i, found in enumerate(neighbour_distances(features, groups, 5)):
        others = sorted(1 - unit[i] @ unit[j] for j in range(40) if groups[j] != groups[i])
        assert found == pytest.approx(np.mean(others[:5]), abs=1e-5)
    assert neighbour_distances(features[:1], groups[:1]).tolist() == [0.0]
    assert upper_fence(np.arange(101.0)) == 225
