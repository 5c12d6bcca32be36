"""A class-conditional Gaussian over features."""

from __future__ import annotations

import numpy as np


def drawn(features: np.ndarray, labels: np.ndarray, wanted: np.ndarray, seed: int) -> np.ndarray:
    """Features float64 (M, D) from a normal distribution a class: its own mean, and one covariance for all.

    The covariance is that of the deviations from the class means, shrunk by Ledoit and Wolf's rule (2004), so that it
    is invertible whatever the number of samples, and a class of one sample has one too.

    Args:
        features: (N, D).
        labels: int64 (N,).
        wanted: int64 (M,), the class of each sample to draw.
        seed: of the draws.
    """
    from sklearn.covariance import LedoitWolf

    x = np.asarray(features, np.float64)
    means = {label: x[labels == label].mean(axis=0) for label in np.unique(labels).tolist()}
    deviations = x - np.stack([means[label] for label in labels.tolist()])
    covariance = LedoitWolf(assume_centered=True).fit(deviations).covariance_
    factor = np.linalg.cholesky(covariance)
    noise = np.random.default_rng(seed).standard_normal((len(wanted), x.shape[1]))
    centres = np.stack([means[label] for label in wanted.tolist()]) if len(wanted) else np.zeros((0, x.shape[1]))
    return np.asarray(centres + noise @ factor.T)
