"""An evaluation: its figures, how far they can be trusted, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk

from xfer.errors import UnknownNameError, UsageError
from xfer.evaluation.evaluation import Evaluation
from xfer.evaluation.metrics import METRICS, classification_metrics
from xfer.evaluation.significance import bootstrap, mcnemar
from xfer.specs.decision import softmax


def evaluation(images=60, classes=3, seed=0, skill=1.0, labels=None):
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes if labels is None else np.asarray(labels)
    logits = rng.normal(size=(len(labels), classes)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += skill
    return Evaluation(
        classification_metrics(logits, labels, METRICS),
        softmax(logits).astype(np.float32),
        labels,
        tuple(f"{i}.jpg" for i in range(len(labels))),
        tuple("abcdefghijkl"[:classes]),
        logits=logits,
    )


def answering(right, labels=None, classes=("a", "b")):
    """An evaluation with two classes that is right on the images that `right` says."""
    labels = np.zeros(len(right), np.int64) if labels is None else np.asarray(labels)
    predicted = np.where(right, labels, 1 - labels)
    p = np.where(np.arange(2) == predicted[:, None], 0.9, 0.1).astype(np.float32)
    return Evaluation({}, p, labels, tuple(f"{i}.jpg" for i in range(len(right))), classes)


def test_a_model_is_judged_by_all_metrics(model, data):
    found = model.evaluate(data)
    assert set(found.metrics) == set(METRICS) - {"top5_accuracy"}
    for name, value in found.metrics.items():
        assert found.metric(name) == pytest.approx(value, rel=1e-12), name
    assert found.metric("top2_accuracy") >= found.metrics["accuracy"]


def test_per_class_is_scikit_learns_report():
    found = evaluation(images=80, classes=4, labels=[0, 1, 3, 3, 1] * 16)  # nothing is of class c
    report = sk.classification_report(
        found.labels, found.predicted, labels=range(4), target_names=found.classes, output_dict=True, zero_division=0
    )
    rows = found.per_class()
    assert [row.name for row in rows] == ["a", "b", "c", "d"]
    for i, row in enumerate(rows):
        expected = report[row.name]
        assert (row.precision, row.recall, row.f1, row.images) == pytest.approx(
            (expected["precision"], expected["recall"], expected["f1-score"], expected["support"])
        )
        assert row.predicted == found.confusion[:, i].sum()
        if row.name == "c":
            assert (row.images, row.roc_auc, row.average_precision) == (0, None, None)
        else:
            mine, scores = found.labels == i, found.probabilities[:, i]
            assert row.roc_auc == pytest.approx(sk.roc_auc_score(mine, scores))
            assert row.average_precision == pytest.approx(sk.average_precision_score(mine, scores))


def test_per_class_of_images_that_are_all_of_one():
    (a, b) = answering([True, True, False]).per_class()
    assert (a.images, a.predicted, a.precision, a.roc_auc, a.average_precision) == (3, 2, 1.0, None, None)
    assert (b.images, b.predicted, b.precision, b.recall, b.f1) == (0, 1, 0.0, 0.0, 0.0)


def test_reliability_sums_up_to_the_error():
    found = evaluation()
    assert found.reliability().error == found.metrics["ece"]
    assert found.reliability(bins=7).images.sum() == 60


@pytest.mark.parametrize("name", ["accuracy", "loss", "macro_f1", "roc_auc", "ece", "top2_accuracy"])
def test_the_interval_is_that_of_the_loop(name):
    found = evaluation()
    interval = found.interval(name, level=0.8, resamples=60, seed=5)
    rng = np.random.default_rng(5)
    values = []
    for _ in range(60):
        rows = rng.integers(0, 60, 60)
        values += classification_metrics(found.logits[rows], found.labels[rows], [name]).values()
    assert len(set(values)) > 1
    assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(values, [10, 90])), rel=1e-12)
    assert interval.value == found.metric(name)
    assert interval.low < interval.value < interval.high or name == "ece"
    assert (interval.level, interval.resamples) == (0.8, 60)


def test_the_interval_is_a_function_of_its_seed_and_level():
    found = evaluation()
    wide, again = found.interval("accuracy", resamples=200), found.interval("accuracy", resamples=200, seed=0)
    assert wide == again
    narrow = found.interval("accuracy", level=0.5, resamples=200)
    assert wide.low < narrow.low <= narrow.high < wide.high
    assert found.interval("loss", seed=1).low != found.interval("loss", seed=2).low


def test_the_interval_of_the_accuracy_is_the_binomial_one():
    """100 right of 400: the bootstrap draws binomial counts, whose quantiles are known."""
    from scipy.stats import binom

    interval = answering(np.arange(400) % 4 == 0).interval("accuracy", resamples=4000)
    expected = binom.ppf([0.025, 0.975], 400, 0.25) / 400
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=0.006)


def test_resamples_without_a_rare_class_are_left_out():
    """One image of class b in 30 is missed by a draw with probability (29/30)^30, about 0.36."""
    interval = evaluation(classes=2, labels=[0] * 29 + [1]).interval("roc_auc", resamples=500)
    assert 270 < interval.resamples < 370


def test_one_image_has_an_interval_without_width():
    interval = evaluation(images=1).interval("loss", resamples=10)
    assert interval.low == interval.high == interval.value


def test_intervals_refuse_what_cannot_be():
    found = evaluation()
    with pytest.raises(UnknownNameError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        found.interval("acuracy")
    with pytest.raises(UsageError, match="level=95"):
        found.interval("accuracy", level=95)
    with pytest.raises(UsageError, match="resamples=0"):
        found.interval("accuracy", resamples=0)
    with pytest.raises(UsageError, match="no interval"):
        bootstrap(lambda chosen: None, 3, level=0.9, resamples=2, seed=0)


def test_undefined_metrics_say_why():
    with pytest.raises(UsageError, match="roc_auc is undefined on these images: no image is of class 'c'"):
        evaluation(labels=[0, 1, 1, 0]).interval("roc_auc")
    with pytest.raises(UsageError, match="mcc is undefined on these images: they are all of one class"):
        answering([True, True]).metric("mcc")
    broken = evaluation()
    broken.probabilities[0] = np.nan
    with pytest.raises(UsageError, match="ece is undefined on these images: a probability is not a finite number"):
        broken.metric("ece")


def test_without_logits_the_probabilities_say_it():
    found = evaluation()
    without = replace(found, logits=None)
    for name in METRICS.keys() - {"top5_accuracy"}:
        assert without.metric(name) == pytest.approx(found.metric(name), rel=1e-6), name


def counts(first_only, second_only, both=7, neither=5):
    """Two evaluations with so many images right in the first only, the second only, both and neither."""
    patterns = [(1, 0)] * first_only + [(0, 1)] * second_only + [(1, 1)] * both + [(0, 0)] * neither
    first, second = np.array(patterns, bool).T
    return answering(first), answering(second)


@pytest.mark.parametrize(
    ("first_only", "second_only", "statistic", "p_value", "exact"),
    [
        (0, 0, 0, 1.0, True),
        (1, 0, 0, 1.0, True),
        (5, 0, 0, 2 / 2**5, True),
        (2, 8, 2, 2 * (1 + 10 + 45) / 2**10, True),
        (6, 6, 6, 1.0, True),
        (24, 0, 0, 2 / 2**24, True),
        (20, 5, 14**2 / 25, 0.00511, False),  # chi-square 7.84, one degree of freedom
        (5, 20, 14**2 / 25, 0.00511, False),
        (15, 15, 0, 1.0, False),
        (121, 59, 61**2 / 180, 5.45e-6, False),  # chi-square 20.67
    ],
)
def test_mcnemar_by_hand(first_only, second_only, statistic, p_value, exact):
    one, other = counts(first_only, second_only)
    found = one.mcnemar(other)
    assert (found.first_only, found.second_only, found.exact) == (first_only, second_only, exact)
    assert found.statistic == pytest.approx(statistic)
    assert found.p_value == pytest.approx(p_value, rel=2e-3 if not exact else 1e-12)


def test_mcnemar_is_exact_below_25_discordant_images():
    """16 : 8 by the binomial distribution, 17 : 8 by chi-square (64 / 25 = 2.56)."""
    exact, approximate = (mcnemar(*np.array([(1, 0)] * n + [(0, 1)] * 8, bool).T) for n in (16, 17))
    assert (exact.exact, approximate.exact) == (True, False)
    assert exact.p_value == pytest.approx(0.152, abs=0.001)
    assert approximate.p_value == pytest.approx(0.110, abs=0.001)


def test_mcnemar_matches_classes_by_name():
    """Two models with the same classes in another order."""
    one = answering([True, False, True], labels=[0, 1, 1])
    swapped = answering([True, True, True], labels=[1, 0, 0], classes=("b", "a"))
    assert (one.mcnemar(swapped).first_only, one.mcnemar(swapped).second_only) == (0, 1)


def test_mcnemar_refuses_other_images_and_other_labels():
    one = answering([True, True, False])
    with pytest.raises(UsageError, match="different images: 3 in one evaluation, 2 in the other"):
        one.mcnemar(answering([True, True]))
    with pytest.raises(UsageError, match=r"different images: '1.jpg' in one evaluation stands where 'x.jpg'"):
        one.mcnemar(replace(one, names=("0.jpg", "x.jpg", "2.jpg")))
    with pytest.raises(UsageError, match=r"different labels: '2.jpg' is 'a' in one evaluation, 'b' in the other"):
        one.mcnemar(answering([True, True, True], labels=[0, 0, 1]))
