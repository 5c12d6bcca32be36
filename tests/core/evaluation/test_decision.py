"""Temperature and thresholds against brute force, and in a model."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

import xfer
from xfer.errors import UsageError
from xfer.evaluation.calibration import fit_temperature
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
    chosen = fit_thresholds(probabilities, lambda named: balanced_accuracy_score(labels, named))
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

    found = score(Decision(thresholds=fit_thresholds(probabilities, score)).choose(probabilities))
    grid = np.geomspace(0.01, 1, 30)
    best = max(score((probabilities / [1, a, b]).argmax(1)) for a, b in itertools.product(grid, grid))
    assert found > score(probabilities.argmax(1)) + 0.02
    assert found >= best - 0.01


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
