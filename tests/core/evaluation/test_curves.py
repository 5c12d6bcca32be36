"""ROC and precision-recall curves against scikit-learn, and their means against the means of the areas."""

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from xfer.evaluation.evaluation import evaluate_logits
from xfer.evaluation.one_vs_rest import MEAN, precision_recall_curves, roc_curves
from xfer.evaluation.rankings import Rankings

NAMES = ["a", "b", "c", "d", "never"]


@pytest.fixture(params=["ties", "distinct"])
def scored(request):
    """Scores (N, 5) and truth; the last class has no image."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 80)
    scores = rng.normal(size=(80, 5)) + 1.5 * np.eye(5)[labels]
    return np.round(scores) if request.param == "ties" else scores, np.eye(5)[labels]


def test_each_curve_is_scikit_learns(scored):
    scores, truth = scored
    roc, pr = roc_curves(scores, truth, NAMES), precision_recall_curves(scores, truth.argmax(axis=1), NAMES)
    assert [curve.name for curve in roc] == [curve.name for curve in pr] == [MEAN, "a", "b", "c", "d"]
    for k in range(4):
        x, y, _ = roc_curve(truth[:, k], scores[:, k])
        np.testing.assert_array_equal([roc[k + 1].x, roc[k + 1].y], [x, y])
        assert roc[k + 1].area == pytest.approx(roc_auc_score(truth[:, k], scores[:, k]))
        precision, recall, _ = precision_recall_curve(truth[:, k], scores[:, k])
        np.testing.assert_array_equal([pr[k + 1].x, pr[k + 1].y], [recall[::-1], precision[::-1]])
        assert pr[k + 1].area == average_precision_score(truth[:, k], scores[:, k])


def test_the_area_under_a_mean_is_the_mean_of_the_areas(scored):
    scores, truth = scored
    mean, *each = roc_curves(scores, truth, NAMES)
    assert auc(mean.x, mean.y) == pytest.approx(np.mean([curve.area for curve in each]), abs=1e-12)
    mean, *each = precision_recall_curves(scores, truth, NAMES)
    steps = float((np.diff(mean.x) * mean.y[1:]).sum())
    assert steps == pytest.approx(np.mean([curve.area for curve in each]), abs=1e-12) == mean.area


def test_two_classes_have_no_mean_and_what_is_unknown_counts_nowhere():
    scores = np.random.default_rng(0).normal(size=(20, 2))
    truth = (np.arange(40).reshape(20, 2) % 3 == 0).astype(float)
    truth[3:8, 1] = np.nan
    first, second = roc_curves(scores, truth, ["x", "y"])
    known = ~np.isnan(truth[:, 1])
    assert (first.name, second.name) == ("x", "y")
    assert second.area == pytest.approx(roc_auc_score(truth[known, 1], scores[known, 1]))


def test_no_number_gives_no_curve_and_infinite_log_odds_do():
    truth = np.eye(2)[[0, 1, 0]]
    assert roc_curves(np.array([[np.nan, 1], [0, 1], [1, 0]]), truth, "ab") == []
    assert [curve.area for curve in roc_curves(np.array([[np.inf, -np.inf], [0, 1], [1, 0]]), truth, "ab")] == [1, 1]


@pytest.mark.parametrize("rounded", [False, True])
def test_resampled_areas_are_scikit_learns(rounded):
    """The sorted scores give what scikit-learn does of each resample, ties and undefined resamples included."""
    rng = np.random.default_rng(0)
    labels = np.array([0] * 12 + [1] * 9 + [2] * 2)
    logits = rng.normal(size=(23, 3)) + np.eye(3)[labels]
    found = evaluate_logits(np.round(logits) if rounded else logits, labels, [str(i) for i in range(23)], tuple("abc"))
    rankings, scores = Rankings(found.predictions.scores, labels), found.predictions.scores
    undefined = 0
    for _ in range(40):
        rows = rng.integers(0, 23, 23)
        counts, drawn = np.bincount(rows, minlength=23), labels[rows]
        if len(np.unique(drawn)) < 3:
            undefined += 1
            assert rankings.roc_auc(counts) is rankings.average_precision(counts) is None
            continue
        aucs = [roc_auc_score(drawn == k, scores[rows, k]) for k in range(3)]
        precisions = [average_precision_score(drawn == k, scores[rows, k]) for k in range(3)]
        assert rankings.roc_auc(counts) == pytest.approx(np.mean(aucs), abs=1e-12)
        assert rankings.average_precision(counts) == pytest.approx(np.mean(precisions), abs=1e-12)
    assert 0 < undefined < 40
    assert found.interval("roc_auc", resamples=20).value == pytest.approx(found.metrics["roc_auc"], abs=1e-12)
