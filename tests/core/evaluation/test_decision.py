"""Temperature and thresholds against brute force, and in a model."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

import xfer
from xfer.errors import UsageError
from xfer.evaluation.calibration import fit_temperature
from xfer.evaluation.confusion import FROM_COUNTS
from xfer.evaluation.thresholds import fit_thresholds
from xfer.specs.decision import Decision, softmax
from xfer.testing import NumpyBackend


def test_temperature_is_the_best_of_a_fine_grid():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    logits = 5 * (rng.standard_normal((300, 4)) + np.eye(4)[labels])

    def loss(t):
        return -np.log(softmax(logits / t)[np.arange(300), labels]).mean()

    grid = np.geomspace(0.2, 50, 20_000)
    best = grid[np.argmin([loss(t) for t in grid])]
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(best, rel=1e-3)
    assert loss(found) <= loss(best) + 1e-12
    assert found > 1.5, "these logits are five times too sure"


def test_thresholds_of_two_classes_are_the_best_there_are():
    """Every cut between two neighbouring probabilities, one by one."""
    rng = np.random.default_rng(1)
    labels = (rng.random(80) < 0.2).astype(int)
    p = np.clip(0.25 * labels + 0.4 * rng.random(80), 0.01, 0.99)
    probabilities = np.column_stack([1 - p, p])
    chosen = fit_thresholds(probabilities, labels, FROM_COUNTS["balanced_accuracy"])
    assert sum(chosen) == pytest.approx(1)
    found = Decision(thresholds=chosen).choose(probabilities)
    np.testing.assert_array_equal(found, p >= chosen[1])
    every = [balanced_accuracy_score(labels, p >= cut) for cut in [*p, 2]]
    assert balanced_accuracy_score(labels, found) == pytest.approx(max(every))


def test_thresholds_of_three_classes_against_a_grid():
    rng = np.random.default_rng(2)
    labels = rng.choice(3, 200, p=[0.8, 0.15, 0.05])
    probabilities = softmax(1.5 * rng.standard_normal((200, 3)) + 1.5 * np.eye(3)[labels] + np.log([0.8, 0.15, 0.05]))

    def score(named):
        return f1_score(labels, named, average="macro")

    chosen = fit_thresholds(probabilities, labels, FROM_COUNTS["macro_f1"])
    found = score(Decision(thresholds=chosen).choose(probabilities))
    grid = np.geomspace(0.01, 1, 30)
    best = max(score((probabilities / [1, a, b]).argmax(1)) for a, b in itertools.product(grid, grid))
    assert found > score(probabilities.argmax(1)) + 0.02
    assert found >= best - 0.01


def test_thresholds_lie_between_images():
    """Far from both neighbours: a probability that rounds otherwise elsewhere is still named the same."""
    rng = np.random.default_rng(4)
    labels = rng.choice(3, 150, p=[0.7, 0.2, 0.1])
    probabilities = softmax(1.5 * rng.standard_normal((150, 3)) + 1.5 * np.eye(3)[labels] + np.log([0.7, 0.2, 0.1]))
    decision = Decision(thresholds=fit_thresholds(probabilities, labels, FROM_COUNTS["balanced_accuracy"]))
    ranked = np.sort(decision.ranking(probabilities), axis=1)
    assert (ranked[:, -1] / ranked[:, -2]).min() > 1 + 1e-5
    nearby = probabilities * (1 + 1e-7 * rng.standard_normal(probabilities.shape))
    np.testing.assert_array_equal(decision.choose(nearby), decision.choose(probabilities))


def test_thresholds_of_many_classes():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 100, 2000) // (1 + rng.integers(0, 4, 2000))
    probabilities = softmax(rng.standard_normal((2000, 100)) + 2 * np.eye(100)[labels])
    chosen = fit_thresholds(probabilities, labels, FROM_COUNTS["balanced_accuracy"])
    found, plain = Decision(thresholds=chosen).choose(probabilities), probabilities.argmax(1)
    assert balanced_accuracy_score(labels, found) > balanced_accuracy_score(labels, plain) + 0.02


def test_a_temperature_that_nothing_decides_stays_1():
    """All of 40 images are right: any lower temperature has less loss, down to the bound, and more on others."""
    labels = np.arange(40) % 2
    logits = np.random.default_rng(6).uniform(1, 3, (40, 1)) * np.eye(2)[labels]
    assert fit_temperature(logits, labels) == 1.0
    assert fit_temperature(np.zeros((40, 2)), labels) == 1.0
    assert fit_temperature(logits, 1 - labels) == 1.0


@pytest.mark.parametrize("name", ["loss", "roc_auc", "top5_accuracy"])
def test_metrics_that_thresholds_do_not_change(model, data, name):
    with pytest.raises(UsageError, match=f"thresholds do not change {name}"):
        xfer.tune_thresholds(model, data, name)


def test_a_model_keeps_its_decision(model, data, tmp_path):
    xfer.Trainer(model, lr=0.05, progress=False).fit(data, 2)
    plain = model.evaluate(data)
    temperature = xfer.calibrate(model, data)
    calibrated = model.evaluate(data)
    assert calibrated.metrics["loss"] < plain.metrics["loss"]
    assert calibrated.metrics["accuracy"] == plain.metrics["accuracy"]
    np.testing.assert_allclose(calibrated.probabilities, softmax(plain.logits / temperature), rtol=1e-5)
    np.testing.assert_allclose(model.predict_proba(data.val), calibrated.probabilities, rtol=1e-5)
    thresholds = (0.999998, 1e-6, 1e-6)
    model.decision = Decision(temperature, thresholds)
    named = (calibrated.probabilities / thresholds).argmax(1)
    assert (named != calibrated.probabilities.argmax(1)).any()
    assert [p.label for p in model.predict(data.val)] == [model.classes[k] for k in named]
    np.testing.assert_array_equal(model.evaluate(data).predicted, named)
    model.save(tmp_path)
    again = xfer.load(tmp_path, backend=NumpyBackend())
    assert again.decision == model.decision
    assert again.evaluate(data).metrics == model.evaluate(data).metrics
    again.replace_head(["x", "y"])
    assert again.decision == Decision(), "another head is another classifier"


def test_thresholds_never_make_it_worse(model, data):
    before = model.evaluate(data).metrics["balanced_accuracy"]
    chosen = xfer.tune_thresholds(model, data)
    assert list(chosen) == list(model.classes)
    assert model.evaluate(data).metrics["balanced_accuracy"] >= before


def test_refusals():
    with pytest.raises(UsageError, match="temperature=0"):
        Decision(0)
    with pytest.raises(UsageError, match="one positive number"):
        Decision(thresholds=(0.5, 0.0))
