"""The loss of `LossSpec` and its gradient."""

from __future__ import annotations

import numpy as np

from xfer.numerics import LossSpec


def cross_entropy(spec: LossSpec, logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean loss of logits (N, K) against class indices (N,), negative where there is none; its gradient (N, K).

    Smoothing and class weights together are a soft target `t` (N, K) and the loss `sum(-t * log p) / sum(w[y])`; the
    gradient of `-sum_k t_k log p_k` with respect to the logits is `p * sum_k t_k - t`.
    """
    rows, classes = logits.shape
    known = np.flatnonzero(labels >= 0)
    if len(known) < rows:
        loss, inner = cross_entropy(spec, logits[known], labels[known]) if len(known) else (np.zeros(()), logits[known])
        gradient = np.zeros_like(logits)
        gradient[known] = inner
        return loss, gradient
    weights = np.array(spec.class_weights or (1.0,) * classes, logits.dtype)
    z = logits + np.array(spec.adjustment or (0.0,) * classes, logits.dtype)
    shifted = z - z.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    if spec.focal:
        return _focal(spec.focal, log_p, labels, weights[labels])
    target = np.broadcast_to(weights * (spec.label_smoothing / classes), logits.shape).copy()
    target[np.arange(rows), labels] += (1 - spec.label_smoothing) * weights[labels]
    target /= weights[labels].sum()
    return -(target * log_p).sum(), np.exp(log_p) * target.sum(1, keepdims=True) - target


def _focal(power: float, log_p: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With l = log p[y]: the loss -(1 - p)^g l, its derivative by l, and that of l by the logits, onehot - p."""
    rows = np.arange(len(labels))
    l_y = log_p[rows, labels]
    p = np.exp(l_y)
    share = weights / weights.sum()
    by_l = -((1 - p) ** power) + power * p * l_y * (1 - p) ** (power - 1)
    by_z = -np.exp(log_p)
    by_z[rows, labels] += 1
    return -(share * (1 - p) ** power * l_y).sum(), (share * by_l)[:, None] * by_z
