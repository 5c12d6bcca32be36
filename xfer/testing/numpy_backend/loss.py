"""The loss of `LossSpec` and its gradient."""

from __future__ import annotations

import numpy as np

from xfer.numerics import LossSpec


def cross_entropy(spec: LossSpec, logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean loss of logits (N, K) against class indices (N,), and its gradient (N, K).

    Smoothing and class weights together are a soft target `t` (N, K) and the loss `sum(-t * log p) / sum(w[y])`; the
    gradient of `-sum_k t_k log p_k` with respect to the logits is `p * sum_k t_k - t`.
    """
    rows, classes = logits.shape
    weights = np.array(spec.class_weights or (1.0,) * classes, logits.dtype)
    target = np.broadcast_to(weights * (spec.label_smoothing / classes), logits.shape).copy()
    target[np.arange(rows), labels] += (1 - spec.label_smoothing) * weights[labels]
    target /= weights[labels].sum()
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -(target * log_p).sum(), np.exp(log_p) * target.sum(1, keepdims=True) - target
