"""Every metric against scikit-learn or a loop that shares nothing with it, and where it is undefined."""

import math
import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from xfer.errors import UnknownNameError
from xfer.evaluation.confusion import FROM_COUNTS
from xfer.evaluation.evaluation import evaluate_logits
from xfer.evaluation.metrics import (
    EPOCH_METRICS,
    METRICS,
    classification_metrics,
    compute,
    confusion_matrix,
    metric,
)
from xfer.evaluation.predictions import Predictions, log_odds
from xfer.evaluation.reliability import reliability
from xfer.specs.decision import softmax

UNDEFINED_BY_CLASSES = {"roc_auc", "average_precision"}


def case(images, classes, seed=0, skill=1.0):
    """Logits (N, K) that know something of the labels, the labels, and float32 probabilities."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % classes)
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), labels] += skill
    return logits, labels, softmax(logits).astype(np.float32)


def sums_of_one(p):
    return p.astype(float) / p.astype(float).sum(1, keepdims=True)


def averaged(score, average):
    return lambda y, p: score(y, p.argmax(1), average=average, zero_division=0)


INDEPENDENT = {
    "loss": lambda y, p: sk.log_loss(y, sums_of_one(p), labels=range(p.shape[1])),
    "accuracy": lambda y, p: sk.accuracy_score(y, p.argmax(1)),
    "top5_accuracy": lambda y, p: np.mean([label in np.argsort(-row)[:5] for label, row in zip(y, p, strict=True)]),
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, p.argmax(1)),
    "macro_f1": averaged(sk.f1_score, "macro"),
    "macro_precision": averaged(sk.precision_score, "macro"),
    "macro_recall": averaged(sk.recall_score, "macro"),
    "weighted_precision": averaged(sk.precision_score, "weighted"),
    "weighted_recall": averaged(sk.recall_score, "weighted"),
    "weighted_f1": averaged(sk.f1_score, "weighted"),
    "micro_precision": averaged(sk.precision_score, "micro"),
    "micro_recall": averaged(sk.recall_score, "micro"),
    "micro_f1": averaged(sk.f1_score, "micro"),
    "roc_auc": lambda y, p: np.mean([pairs_in_order(p[:, k], y == k) for k in range(p.shape[1])]),
    "average_precision": lambda y, p: np.mean([mean_precision(p[:, k], y == k) for k in range(p.shape[1])]),
    "cohen_kappa": lambda y, p: sk.cohen_kappa_score(y, p.argmax(1)),
    "mcc": lambda y, p: sk.matthews_corrcoef(y, p.argmax(1)),
    "ece": lambda y, p: calibration_error(p.max(1), p.argmax(1) == y),
}


def pairs_in_order(scores, mine):
    """ROC-AUC is the share of (positive, negative) pairs in the right order, ties half."""
    pairs = [(a > b) + (a == b) / 2 for a in scores[mine] for b in scores[~mine]]
    return np.mean(pairs)


def mean_precision(scores, mine):
    """Average precision without ties: the mean, over positives, of the precision down to each."""
    ranked = mine[np.argsort(-scores)]
    return np.mean([ranked[: i + 1].mean() for i in np.flatnonzero(ranked)])


def calibration_error(confidence, correct, bins=15):
    error = 0.0
    for i in range(bins):
        inside = [j for j, c in enumerate(confidence) if i / bins < c <= (i + 1) / bins]
        if inside:
            gap = np.mean([correct[j] for j in inside]) - np.mean([float(confidence[j]) for j in inside])
            error += abs(gap) * len(inside) / len(confidence)
    return error


def test_every_metric_has_an_independent_one():
    assert set(INDEPENDENT) == set(METRICS)


@pytest.mark.parametrize(("images", "classes"), [(120, 2), (90, 3), (200, 12)])
@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_those_of_others(name, images, classes):
    logits, labels, p = case(images, classes)
    ours = classification_metrics(logits, labels, [name])
    if name == "top5_accuracy" and classes <= 5:
        assert ours == {}, "it would always be 1"
        return
    assert ours == {name: pytest.approx(INDEPENDENT[name](labels, p), rel=1e-6)}


@pytest.mark.parametrize("name", [name for name in METRICS if name != "ece"])
def test_a_better_classifier_is_better_in_the_direction_the_metric_claims(name):
    """Calibration apart, which may be worse."""
    weak, strong = (classification_metrics(*case(300, 8, skill=s)[:2], [name])[name] for s in (0.3, 3.0))
    assert (strong > weak) == METRICS[name].higher


def test_directions():
    assert {name for name, m in METRICS.items() if not m.higher} == {"loss", "ece"}


def test_roc_auc_and_average_precision_are_scikit_learns_macro():
    logits, labels, p = case(150, 6)
    ours = classification_metrics(logits, labels, ["roc_auc", "average_precision"])
    onehot = np.eye(6)[labels]
    rows = sums_of_one(p)
    assert ours["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, rows, multi_class="ovr", average="macro"))
    assert ours["average_precision"] == pytest.approx(sk.average_precision_score(onehot, p, average="macro"))


def test_perfect_answers():
    labels = np.arange(36) % 6
    found = classification_metrics(200.0 * np.eye(6)[labels], labels, METRICS)
    assert set(found) == set(METRICS)
    for name, value in found.items():
        assert value == pytest.approx(1.0 if METRICS[name].higher else 0.0, abs=1e-12), name


def test_an_absent_class_leaves_out_what_it_leaves_undefined():
    logits, labels, _ = case(80, 4)
    labels = np.where(labels == 2, 0, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = classification_metrics(logits, labels, METRICS)
    assert set(METRICS) - set(found) == UNDEFINED_BY_CLASSES | {"top5_accuracy"}
    recalls = [(logits.argmax(1)[labels == k] == k).mean() for k in (0, 1, 3)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls)), "the classes that occur"
    assert found["macro_recall"] == pytest.approx(sum(recalls) / 4), "predicted, so it counts, with 0"


def test_one_image():
    right = classification_metrics(np.array([[2.0, 0.0, 0.0]]), np.array([0]), METRICS)
    p = math.exp(2) / (math.exp(2) + 2)
    assert set(METRICS) - set(right) == UNDEFINED_BY_CLASSES | {"cohen_kappa", "mcc", "top5_accuracy"}
    assert right["accuracy"] == right["macro_f1"] == right["balanced_accuracy"] == 1.0
    assert right["ece"] == pytest.approx(1 - p, rel=1e-6)
    wrong = classification_metrics(np.array([[2.0, 0.0, 0.0]]), np.array([1]), METRICS)
    assert wrong["accuracy"] == wrong["cohen_kappa"] == wrong["mcc"] == wrong["macro_f1"] == 0.0
    assert wrong["ece"] == pytest.approx(p, rel=1e-6)


def test_a_thousand_classes_and_few_images():
    logits, labels, p = case(40, 1000, skill=3.0)
    found = classification_metrics(logits, labels, METRICS)
    assert set(METRICS) - set(found) == UNDEFINED_BY_CLASSES
    for name, value in found.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn's, of classes predicted that do not occur
            assert value == pytest.approx(INDEPENDENT[name](labels, p), rel=1e-6, abs=1e-12), name


def test_any_k_has_its_accuracy():
    logits, labels, _ = case(100, 9)
    for k in (9, 40):
        assert classification_metrics(logits, labels, [f"top{k}_accuracy"]) == {}
    for k in (1, 2, 3, 8):
        expected = np.mean([label in np.argsort(-row)[:k] for label, row in zip(labels, logits, strict=True)])
        assert classification_metrics(logits, labels, [f"top{k}_accuracy"]) == {f"top{k}_accuracy": expected}


@pytest.mark.parametrize("name", ["acuracy", "top0_accuracy", "top_accuracy", "val_loss"])
def test_unknown_metrics_name_the_nearest(name):
    with pytest.raises(UnknownNameError, match=f"unknown metric '{name}'"):
        metric(name)


def test_the_default_is_what_an_epoch_shows():
    logits, labels, _ = case(20, 6)
    assert tuple(classification_metrics(logits, labels)) == EPOCH_METRICS


def test_equal_logits_are_in_the_order_of_classes():
    """A network that says nothing is not right about everything."""
    labels = np.arange(60) % 6
    found = classification_metrics(np.zeros((60, 6)), labels, ["accuracy", "top2_accuracy", "top5_accuracy"])
    assert found == {"accuracy": 1 / 6, "top2_accuracy": pytest.approx(2 / 6), "top5_accuracy": pytest.approx(5 / 6)}


def test_rankings_are_not_flattened():
    """In float32 most of these probabilities are 1 or 0; their order is still that of the logits."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 400)
    margin = 60 + 30 * rng.standard_normal(400) + 10 * labels
    logits = np.column_stack([np.zeros(400), margin])
    expected = sk.roc_auc_score(labels, margin)
    found = classification_metrics(logits, labels, ["roc_auc", "average_precision"])
    assert found["roc_auc"] == pytest.approx(expected, rel=1e-12)
    assert expected != pytest.approx(sk.roc_auc_score(labels, softmax(logits)[:, 1].astype(np.float32)), rel=1e-3)
    ours = [mean_precision(margin, labels == 1), mean_precision(-margin, labels == 0)]
    assert found["average_precision"] == pytest.approx(np.mean(ours), rel=1e-12)


@pytest.mark.parametrize("classes", [2, 5])
def test_log_odds(classes):
    from decimal import Decimal

    z = np.random.default_rng(0).standard_normal((20, classes)) * 20
    for row, found in zip(z, log_odds(z), strict=True):
        for k in range(classes):
            others = sum(Decimal(float(v)).exp() for j, v in enumerate(row) if j != k)
            assert float(Decimal(float(row[k])) - others.ln()) == pytest.approx(found[k], rel=1e-9)


@pytest.mark.parametrize("name", FROM_COUNTS)
def test_metrics_from_counts(name):
    for seed in range(5):
        logits, labels, _ = case(60, 4, skill=seed / 2)
        counts = confusion_matrix(labels, logits.argmax(1), 4)
        expected = classification_metrics(logits, labels, [name])
        assert FROM_COUNTS[name](counts.astype(float)) == pytest.approx(expected[name], rel=1e-9)
    assert (FROM_COUNTS["mcc"](np.diag([3.0, 0])), FROM_COUNTS["cohen_kappa"](np.diag([3.0, 0]))) == (None, None)


def test_logits_keep_what_float32_probabilities_lose():
    """A probability of e^-200 is 0 in float32: the loss is 200 with the logits, and bounded without."""
    logits, labels = np.array([[0.0, -200.0, -300.0]]), np.array([2])
    p = softmax(logits).astype(np.float32)
    with_logits, without = Predictions.of(p, labels, logits), Predictions.of(p, labels)
    assert compute(with_logits, ["loss", "top2_accuracy"]) == {"loss": pytest.approx(300.0), "top2_accuracy": 0.0}
    assert compute(without, ["loss"])["loss"] == pytest.approx(-math.log(np.finfo(np.float32).tiny))


def test_taking_images_is_indexing():
    logits, labels, p = case(50, 4)
    chosen = np.random.default_rng(3).integers(0, 50, 70)
    again = chosen[::-1][:20]
    taken = Predictions.of(p, labels, logits).take(chosen).take(np.arange(69, 49, -1))
    assert compute(taken, METRICS) == pytest.approx(classification_metrics(logits[again], labels[again], METRICS))
    np.testing.assert_array_equal(taken.probabilities, p[again])


def test_answers_that_are_not_numbers_have_no_ranking():
    logits, labels, _ = case(20, 3)
    logits[4] = np.nan
    found = classification_metrics(logits, labels, METRICS)
    assert set(METRICS) - set(found) == {"roc_auc", "average_precision", "ece", "top5_accuracy"}
    assert math.isnan(found["loss"])


def test_bins_of_confidence_hold_their_upper_edge():
    found = reliability(np.array([0.0, 0.25, 0.26, 0.5, 0.75, 1.0]), np.array([0, 1, 0, 1, 1, 1], bool), bins=4)
    np.testing.assert_array_equal(found.images, [2, 2, 1, 1])
    np.testing.assert_allclose(found.confidence, [0.125, 0.38, 0.75, 1.0])
    np.testing.assert_allclose(found.accuracy, [0.5, 0.5, 1.0, 1.0])
    assert found.error == pytest.approx((2 * 0.375 + 2 * 0.12 + 0.25 + 0) / 6)


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_is_that_of_the_loop(seed):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.random(97), rng.random(97) < 0.4
    confidence[:4] = 1.0, 1 / 15, 0.2, 2 / 3
    assert reliability(confidence, correct).error == pytest.approx(calibration_error(confidence, correct), rel=1e-12)


def test_many_images_are_ranked_a_part_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    logits, labels = rng.integers(-3, 4, (50, 7)).astype(np.float32), rng.integers(0, 7, 50)
    probabilities = softmax(logits).astype(np.float32)
    whole = Predictions.of(probabilities, labels, logits)
    monkeypatch.setattr("xfer.evaluation.predictions._AT_ONCE", 3 * 7 + 1)
    parts = Predictions.of(probabilities, labels, logits)
    for name in ("better", "losses", "logits", "predicted", "rows"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name
    ranks = [
        sorted(range(7), key=lambda k, z=z: (-z[k], k)).index(label) for z, label in zip(logits, labels, strict=True)
    ]
    assert parts.better.tolist() == ranks


def test_memory_of_an_image_of_many_classes():
    """Probabilities are float32 and logits float64: 12 bytes a class, and on the way another copy of the logits."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3_000, 500)).astype(np.float32), rng.integers(0, 500, 3_000)
    tracemalloc.start()
    try:
        found = evaluate_logits(logits, labels, [""] * 3_000, tuple(map(str, range(500))), metrics=EPOCH_METRICS)
        now, peak = (each / logits.size for each in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    assert len(found.names) == 3_000
    assert now < 15
    assert peak < 23
