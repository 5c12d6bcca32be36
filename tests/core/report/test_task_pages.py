"""The page of several tasks: a section for each, with figures that scikit-learn computes from what a user sees."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error, r2_score

import xfer
from tests.core.report.pages import Page
from xfer.data import Split
from xfer.errors import UnknownNameError, UsageError
from xfer.evaluation.significance import bootstrap
from xfer.evaluation.tasks import evaluate_tasks
from xfer.report.evaluation_page import render
from xfer.specs.tasks import Task
from xfer.testing import NumpyBackend

TASKS = (
    Task("kind", "single-label", ("x", "y")),
    Task("look", "multi-label", ("dark", "wide", "never")),
    Task("age", "regression", ("age",), mean=(40.0,), std=(10.0,)),
)


@pytest.fixture(scope="module")
def evaluation():
    rng = np.random.default_rng(0)
    targets = np.zeros((40, 5))
    targets[:, 0], targets[:, 1:3] = rng.integers(0, 2, 40), rng.integers(0, 2, (40, 2))
    targets[:, 4] = rng.normal(size=40)
    logits = rng.normal(size=(40, 6))
    logits[:, 5] = targets[:, 4] + 0.3 * rng.normal(size=40)
    targets[:5, 0] = targets[5:9, 1] = targets[9:12, 4] = np.nan
    return evaluate_tasks(TASKS, logits, targets, [f"{i}.png" for i in range(40)])


@pytest.fixture(scope="module")
def page(evaluation):
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, tasks=TASKS, image_size=16)
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    split = Split(list(images), np.zeros(40, int), evaluation.names, TASKS[0].classes)
    return Page(render(evaluation, model, split, data="photos.csv", backend="numpy", cache=False).decode())


def test_each_task_has_its_section(page):
    for title in ("kind: single-label", "look: multi-label", "age: regression"):
        assert title in page.texts
    spoken = page.values("svg", "aria-label")
    assert sum(each.startswith("Confusion matrix") for each in spoken) == 1
    assert any(each.startswith("age: predicted over true") for each in spoken)
    assert any(each.startswith("age: residuals") for each in spoken)
    assert sum(each.startswith("Precision over recall") for each in spoken) == 2
    alts = page.values("img", "alt")
    assert 3 <= sum(alt.startswith("Grad-CAM of ") for alt in alts) <= 12
    identifiers = [value for _, key, value in page.attributes if key == "id"]
    assert len(identifiers) == len(set(identifiers))


def test_the_labels_are_scikit_learns(page, evaluation):
    p, y = evaluation.outputs["look"], evaluation.targets["look"]
    known = ~np.isnan(y[:, 0])
    f1 = f1_score(y[known, 0], p[known, 0] > 0.5)
    precision = average_precision_score(y[known, 0], p[known, 0])
    row = f"dark {int(y[known, 0].sum())} {int((p[known, 0] > 0.5).sum())}"
    assert row in page.text
    assert f"{f1:.4f}" in page.text.partition(row)[2][:80]
    assert f"{precision:.4f}" in page.text.partition(row)[2][:80]


def test_the_numbers_are_scikit_learns(page, evaluation):
    said, y = evaluation.outputs["age"][:, 0], evaluation.targets["age"][:, 0]
    known = ~np.isnan(y)
    error = mean_absolute_error(y[known], said[known])
    assert f"The mean absolute error is {error:.4f} on {known.sum()} images." in page.text
    assert f"R² {r2_score(y[known], said[known]):.4f}" in page.text
    worst = int(np.nanargmax(np.abs(said - y)))
    assert f"{worst}.png" in page.texts


def test_intervals_of_a_task(evaluation):
    said, y = evaluation.outputs["age"][:, 0], evaluation.targets["age"][:, 0]

    def error(rows):
        there = rows[~np.isnan(y[rows])]
        return mean_absolute_error(y[there], said[there])

    expected = bootstrap(error, 40, level=0.9, resamples=50, seed=3)
    found = evaluation.interval("age", "mae", level=0.9, resamples=50, seed=3)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(evaluation.metrics["age_mae"])
    labels = evaluation.interval("look", "micro_f1", resamples=20)
    assert labels.low <= evaluation.metrics["look_micro_f1"] == pytest.approx(labels.value)
    assert evaluation.interval("kind", "accuracy", resamples=20).value == evaluation.metrics["kind_accuracy"]


def test_one_task_as_an_evaluation(evaluation):
    one = evaluation.one("kind")
    assert one.names == evaluation.names[5:]
    assert one.metrics["accuracy"] == evaluation.metrics["kind_accuracy"] == (one.predicted == one.labels).mean()
    with pytest.raises(UsageError, match="'age' is regression"):
        evaluation.one("age")
    with pytest.raises(UnknownNameError, match="'kindness'"):
        evaluation.one("kindness")
    with pytest.raises(UnknownNameError, match="'accuracy'"):
        evaluation.interval("age", "accuracy")


def test_a_task_without_targets_says_so():
    targets = np.full((3, 5), np.nan)
    targets[:, 0] = [0, 1, 1]
    evaluation = evaluate_tasks(TASKS, np.random.default_rng(0).normal(size=(3, 6)), targets, ["a", "b", "c"])
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, tasks=TASKS, image_size=16)
    split = Split(list(np.zeros((3, 16, 16, 3), np.uint8)), np.zeros(3, int), evaluation.names, ("x", "y"))
    page = Page(render(evaluation, model, split, data="x", backend="numpy", cache=False).decode())
    assert page.text.count("No image here has a target of this task.") == 2
