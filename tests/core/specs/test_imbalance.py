"""Weights by class size, against scikit-learn and the papers' formulas."""

import math

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

import xfer
from xfer import LossSpec, class_weights, log_prior
from xfer.errors import UnknownNameError, UsageError
from xfer.specs.settings import RunSettings

COUNTS = (500, 40, 3)
LABELS = np.repeat(np.arange(3), COUNTS)


def test_balanced_is_scikit_learns():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(class_weights(COUNTS), expected)


def test_effective_number_of_samples():
    beta = 0.99
    raw = [(1 - beta) / (1 - math.pow(beta, n)) for n in COUNTS]
    found = class_weights(COUNTS, "effective", beta)
    np.testing.assert_allclose(np.array(found) / found[0], np.array(raw) / raw[0])
    assert np.mean(np.array(found)[LABELS]) == pytest.approx(1)
    np.testing.assert_allclose(class_weights(COUNTS, "effective", 0.0), np.ones(3))


def test_classes_without_images():
    assert class_weights((4, 0), "balanced") == (1.0, 0.0)
    assert log_prior((3, 0)) == (math.log(3 / 4), math.log(1 / 4))
    assert log_prior((1, 1), tau=2.0) == (2 * math.log(0.5),) * 2


def test_what_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'balanced'"):
        class_weights(COUNTS, "balancd")
    with pytest.raises(UsageError, match="no class has an image"):
        class_weights((0, 0))
    with pytest.raises(UsageError, match="beta=1"):
        class_weights(COUNTS, "effective", 1)
    with pytest.raises(UsageError, match="takes no label_smoothing"):
        LossSpec(0.1, focal=2)
    with pytest.raises(UsageError, match="focal=-1 is negative"):
        LossSpec(focal=-1)


def test_a_description_counts_the_training_split():
    images = np.zeros((6, 8, 8, 3), np.uint8)
    data = xfer.data.load({"train": (images, [0, 0, 0, 0, 2, 2]), "val": (images, [1] * 6)}, classes=["a", "b", "c"])
    assert RunSettings(data="x").loss_spec(data.train.counts()) == LossSpec()
    found = RunSettings(data="x", loss="focal", focal=1.5, class_weights="balanced").loss_spec(data.train.counts())
    assert found == LossSpec(class_weights=class_weights((4, 0, 2)), focal=1.5)
    found = RunSettings(data="x", loss="logit-adjusted", label_smoothing=0.1).loss_spec(data.train.counts())
    assert found == LossSpec(0.1, adjustment=log_prior((4, 0, 2)))
