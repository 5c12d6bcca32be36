"""LogME against the density of a normal distribution, a general optimiser, and the algorithm of the paper."""

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, ortho_group

from xfer.evaluation.logme import log_evidence, logme


def problem(images, width, seed, noise=0.5):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(images, width)) * rng.uniform(0.1, 3, width) + rng.normal(size=width)
    labels = (features @ rng.normal(size=(width, 3)) + noise * rng.normal(size=(images, 3))).argmax(axis=1)
    return features, labels


def density(features, target, alpha, beta):
    """log p(y | F, alpha, beta), the weights integrated out: y is normal with covariance 1 / beta + F F' / alpha."""
    covariance = np.eye(len(target)) / beta + features @ features.T / alpha
    return multivariate_normal(np.zeros(len(target)), covariance, allow_singular=True).logpdf(target)


def by_optimiser(features, target):
    """The greatest density over alpha and beta, from several beginnings."""

    def minus(logs):
        return -density(features, target, *np.exp(logs))

    settings = {"method": "Nelder-Mead", "bounds": [(-20, 20)] * 2, "options": {"xatol": 1e-6, "fatol": 1e-9}}
    runs = [minimize(minus, (alpha, 1.0), **settings) for alpha in (-3.0, 1.0, 5.0)]
    return max(-run.fun for run in runs)


def of_the_paper(features, target, rounds=5000):
    """Algorithm 1 of the paper: a fixed-point iteration over alpha and beta from 1 and 1."""
    size, width = features.shape
    u, s, vt = np.linalg.svd(features, full_matrices=False)
    alpha = beta = 1.0
    for _ in range(rounds):
        gamma = (beta * s**2 / (alpha + beta * s**2)).sum()
        if gamma < 1e-9:  # no weights at all: alpha grows without end
            break
        m = vt.T @ (beta * s / (alpha + beta * s**2) * (u.T @ target))
        alpha, beta = gamma / (m @ m), (size - gamma) / ((features @ m - target) ** 2).sum()
    a = alpha * np.eye(width) + beta * features.T @ features
    m = beta * np.linalg.solve(a, features.T @ target)
    return (
        size / 2 * np.log(beta)
        + width / 2 * np.log(alpha)
        - size / 2 * np.log(2 * np.pi)
        - beta / 2 * ((features @ m - target) ** 2).sum()
        - alpha / 2 * m @ m
        - np.linalg.slogdet(a)[1] / 2
    )


@pytest.mark.parametrize(("images", "width"), [(30, 4), (12, 12), (10, 25), (40, 1)])
@pytest.mark.parametrize("seed", range(2))
def test_the_evidence_is_the_greatest_density(images, width, seed):
    features, labels = problem(images, width, seed)
    targets = np.eye(3)[labels][:, np.unique(labels)]
    found = log_evidence(features, targets)
    expected = [by_optimiser(features, target) for target in targets.T]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_score_of_the_paper(seed):
    features, labels = problem(60, 7, seed)
    expected = [of_the_paper(features, (labels == label).astype(float)) / 60 for label in np.unique(labels)]
    assert logme(features, labels) == pytest.approx(np.mean(expected), rel=1e-7, abs=1e-8)


def test_labels_that_the_features_do_not_explain_have_the_evidence_of_noise():
    """At its least, the targets are normal with their own mean square for variance."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    noise = -0.5 * (np.log(2 * np.pi * 0.5) + 1)
    assert logme(rng.normal(size=(200, 3)), labels) == pytest.approx(noise, abs=0.02)
    assert logme(np.zeros((200, 3)), labels) == pytest.approx(noise)


def test_better_features_have_a_greater_score():
    scores = [logme(*problem(200, 6, 3, noise)) for noise in (0.1, 3.0, 30.0)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[2] + 0.1


def test_targets_that_are_explained_exactly_have_a_large_finite_score():
    labels = np.arange(20) % 2
    assert 5 < logme(np.eye(2)[labels], labels) < 30


features_and_labels = st.integers(2, 10).flatmap(
    lambda n: st.tuples(
        arrays(np.int64, st.tuples(st.just(n), st.integers(1, 8)), elements=st.integers(-3, 3)),
        arrays(np.int64, n, elements=st.integers(0, 2)),
    )
)


@settings(max_examples=50, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(features_and_labels, st.floats(1e-3, 1e3), st.integers(0, 2**31))
def test_scale_rotation_and_order_do_not_matter(problem, factor, seed):
    features, labels = problem
    targets = (labels[:, None] == np.unique(labels)).astype(float)
    missed = np.abs(features @ np.linalg.lstsq(features, targets, rcond=None)[0] - targets).max(axis=0)
    assume(missed.min() > 1e-6)  # else the evidence has no bound, or its maximum is where t is 0
    rng = np.random.default_rng(seed)
    order, width = rng.permutation(len(labels)), features.shape[1]
    turn = ortho_group.rvs(width, random_state=rng) if width > 1 else np.array([[-1.0]])
    padded = np.hstack([features, np.zeros((len(features), 3))])
    score = logme(features, labels)
    for same in (factor * features, features @ turn, padded):
        assert logme(same, labels) == pytest.approx(score, rel=1e-6, abs=1e-6)
    assert logme(features[order], labels[order]) == pytest.approx(score, rel=1e-6, abs=1e-6)
    assert logme(features, np.array([2, 0, 1])[labels]) == pytest.approx(score, rel=1e-6, abs=1e-6)
