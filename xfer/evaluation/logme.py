"""LogME: how well a linear model on features explains labels, as the evidence of a Bayesian regression.

K. You, Y. Liu, J. Wang, M. Long: LogME: Practical Assessment of Pre-trained Models for Transfer Learning, ICML 2021,
arXiv:2102.11005. A target y (N,) is modelled as N(F w, 1 / beta) with weights w from N(0, 1 / alpha), and the evidence
is p(y | F, alpha, beta) at the alpha and beta that make it greatest. The paper finds them by a fixed-point iteration.
Here t = alpha / beta is searched on a grid and then by golden section, with beta in closed form for each t: a grid
misses no second maximum, and nothing depends on where an iteration begins.
"""

from __future__ import annotations

import numpy as np

_DECADES = np.arange(-14.0, 8.25, 0.25)  # of t, in units of the largest eigenvalue of F F'
_SECTIONS = 40  # each leaves 0.618 of an interval of half a decade
_GOLDEN = (5**0.5 - 1) / 2


def logme(features: np.ndarray, labels: np.ndarray) -> float:
    """The score of features: the log evidence of one-hot targets, divided by N, its mean over the classes.

    Args:
        features: float (N, D), as the head reads them: neither centred nor scaled, without a constant.
        labels: int (N,); classes without an image do not count.
    """
    targets = labels[:, None] == np.unique(labels)
    return float(log_evidence(features, targets.astype(np.float64)).mean() / len(labels))


def log_evidence(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The greatest log evidence of each target over alpha and beta, float64 (M,).

    Where a target is a linear function of fewer than N features, the evidence has no bound, and a large number is
    returned in its place.

    Args:
        features: float (N, D).
        targets: float (N, M), none of them all zeros.
    """
    size = len(targets)
    eigenvalues, coordinates = _coordinates(np.asarray(features, np.float64), np.asarray(targets, np.float64))
    squares = coordinates**2
    total = (np.asarray(targets, np.float64) ** 2).sum(axis=0)
    outside = np.maximum(total - squares.sum(axis=0), 0.0)

    def evidence(decades: np.ndarray) -> np.ndarray:
        """At t = the largest eigenvalue times 10 ** decades (M,), and the best beta for it."""
        t = 10.0**decades  # eigenvalues are in the same unit
        shares = t / (t + eigenvalues[:, None])
        error = outside + (squares * shares).sum(axis=0)
        beta = size / np.maximum(error, np.finfo(np.float64).tiny)
        return np.asarray(0.5 * (size * (np.log(beta / (2 * np.pi)) - 1) + np.log(shares).sum(axis=0)))

    rough = np.array([evidence(np.full(len(total), decade)) for decade in _DECADES])
    best = _DECADES[rough.argmax(axis=0)]
    low, high = best - 0.25, best + 0.25
    for _ in range(_SECTIONS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        rises = evidence(left) < evidence(right)
        low, high = np.where(rises, left, low), np.where(rises, high, right)
    return np.asarray(np.maximum(evidence((low + high) / 2), rough.max(axis=0)))


def _coordinates(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of F F' that are not zero, divided by the largest, and the targets in the basis of its eigenvectors.

    From the smaller of the two Gram matrices. What is below the rounding of float64 counts as zero; that is far below
    the rounding of features in float32.
    """
    wide = features.shape[1] > len(features)
    scale = np.abs(features).max(initial=0.0)
    scaled = features / scale if scale > 0 else features
    eigenvalues, vectors = np.linalg.eigh(scaled @ scaled.T if wide else scaled.T @ scaled)
    largest = eigenvalues.max(initial=0.0)
    kept = eigenvalues > largest * max(features.shape) * np.finfo(np.float64).eps
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    basis = vectors if wide else scaled @ vectors / np.sqrt(eigenvalues)
    return eigenvalues / (largest or 1.0), basis.T @ targets
