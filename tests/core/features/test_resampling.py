"""Resampled features against imbalanced-learn itself, and the Gaussian against its own moments."""

from dataclasses import replace

import imblearn
import numpy as np
import pytest

import xfer
from xfer.errors import UnknownNameError, UsageError
from xfer.features.gaussian import drawn
from xfer.features.resample import METHODS

SIZES = (40, 15, 8)


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), SIZES)
    x = (rng.standard_normal((len(labels), 6)) + 2 * labels[:, None]).astype(np.float32)
    split = xfer.data.Split(x, labels, [f"{i}.png" for i in range(len(x))], ("a", "b", "c"), after="features")
    return xfer.Data(split, split, None, split.classes, "features")


@pytest.mark.parametrize(
    ("method", "sampler"),
    [
        ("smote", imblearn.over_sampling.SMOTE(random_state=4)),
        ("adasyn", imblearn.over_sampling.ADASYN(random_state=4)),
        ("borderline-smote", imblearn.over_sampling.BorderlineSMOTE(random_state=4)),
        ("near-miss", imblearn.under_sampling.NearMiss()),
        ("tomek-links", imblearn.under_sampling.TomekLinks()),
        ("smote-edited", imblearn.combine.SMOTEENN(random_state=4)),
        ("random-over", imblearn.over_sampling.RandomOverSampler(random_state=4)),
    ],
)
def test_it_is_imbalanced_learn(features, method, sampler):
    found = xfer.resample(features, method, seed=4)
    x, y = sampler.fit_resample(np.asarray(features.train.images), features.train.labels)
    np.testing.assert_array_equal(found.train.images, x)
    np.testing.assert_array_equal(found.train.labels, y)
    assert found.val is features.val
    own = xfer.resample(features, sampler)
    np.testing.assert_array_equal(own.train.labels, y)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "gan"])
def test_every_method_gives_a_split_with_names(features, method):
    train = xfer.resample(features, method).train
    assert len(train) == len(train.names) == len(train.images)
    real = dict(zip(features.train.names, np.asarray(features.train.images), strict=True))
    for name, row in zip(train.names, np.asarray(train.images), strict=True):
        if name in real:
            np.testing.assert_array_equal(row, real[name])
        else:
            assert name.startswith(f"{method}/")
    if method in ("smote", "gaussian", "random-over"):
        assert set(train.counts().values()) == {40}


def test_the_gaussian_has_the_moments_of_the_class():
    rng = np.random.default_rng(1)
    mixing = rng.standard_normal((5, 5))
    labels = np.repeat([0, 1], [400, 300])
    x = rng.standard_normal((700, 5)) @ mixing + 3 * labels[:, None]
    made = drawn(x, labels, np.full(20_000, 1), seed=0)
    np.testing.assert_allclose(made.mean(0), x[labels == 1].mean(0), atol=0.1)
    deviations = x - np.where(labels[:, None] == 1, x[labels == 1].mean(0), x[labels == 0].mean(0))
    np.testing.assert_allclose(np.cov(made.T), np.cov(deviations.T), atol=0.05 * np.abs(np.cov(x.T)).max())


def test_refusals(features, data):
    with pytest.raises(UnknownNameError, match="unknown resampling method 'smoat'; did you mean 'smote'"):
        xfer.resample(features, "smoat")
    with pytest.raises(UsageError, match=r"call xfer\.extract"):
        xfer.resample(data, "smote")
    lonely = replace(features, train=features.train.subset([*range(40), 60]))
    with pytest.raises(UsageError, match="smote needs two samples of each class: a class has 1"):
        xfer.resample(lonely, "smote")
    assert set(xfer.resample(lonely, "gaussian").train.counts().values()) == {40, 0}
    labels = features.train.labels.copy()
    labels[0] = -1
    with pytest.raises(UsageError, match="needs one label an image"):
        xfer.resample(replace(features, train=replace(features.train, labels=labels)), "smote")
