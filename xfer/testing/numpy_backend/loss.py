"""The loss of `LossSpec` and its gradient."""

from __future__ import annotations

import numpy as np

from xfer.specs.loss import LossSpec, spans


def loss_of(spec: LossSpec, logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean loss of logits (N, K) and its gradient, for labels int64 (N,), shares (N, K) or targets (N, M)."""
    if spec.tasks:
        return _tasks(spec, logits, labels)
    return cross_entropy(spec, logits, labels) if labels.ndim == 1 else _soft_cross_entropy(spec, logits, labels)


def cross_entropy(spec: LossSpec, logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean loss of logits (N, K) against class indices (N,), negative where there is none; its gradient (N, K).

    Smoothing and class weights together are a soft target `t` (N, K) and the loss `sum(-t * log p) / sum(w[y])`; the
    gradient of `-sum_k t_k log p_k` with respect to the logits is `p * sum_k t_k - t`.
    """
    rows, classes = logits.shape
    known = np.flatnonzero(labels >= 0)
    if not spec.weight_of(labels) > 0:
        return np.zeros(()), np.zeros_like(logits)
    if len(known) < rows:
        loss, inner = cross_entropy(spec, logits[known], labels[known])
        gradient = np.zeros_like(logits)
        gradient[known] = inner
        return loss, gradient
    weights = np.array(spec.class_weights or (1.0,) * classes, logits.dtype)
    z = logits + np.array(spec.adjustment or (0.0,) * classes, logits.dtype)
    log_p = _log_softmax(z)
    divisor = rows if spec.reduction == "count" else weights[labels].sum()
    if spec.focal:
        return _focal(spec.focal, log_p, labels, weights[labels] / divisor)
    target = np.broadcast_to(weights * (spec.label_smoothing / classes), logits.shape).copy()
    target[np.arange(rows), labels] += (1 - spec.label_smoothing) * weights[labels]
    target /= divisor
    return -(target * log_p).sum(), np.exp(log_p) * target.sum(1, keepdims=True) - target


def _focal(power: float, log_p: np.ndarray, labels: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With l = log p[y]: the loss -(1 - p)^g l, its derivative by l, and that of l by the logits, onehot - p."""
    rows = np.arange(len(labels))
    l_y = log_p[rows, labels]
    p, wrong = np.exp(l_y), _wrong(l_y)
    by_l = -(wrong**power) + power * p * l_y * wrong ** (power - 1)
    by_z = -np.exp(log_p)
    by_z[rows, labels] += 1
    return -(share * wrong**power * l_y).sum(), (share * by_l)[:, None] * by_z


def _soft_cross_entropy(spec: LossSpec, logits: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sum_k -c_k (1 - p_k)^g log p_k a row, c the weighted and smoothed share; its derivative by each log p_k first."""
    classes = logits.shape[1]
    known = ~np.isnan(shares).any(axis=1)
    if not known.any():
        return np.zeros(()), np.zeros_like(logits)
    log_p = _log_softmax(logits[known] + np.array(spec.adjustment or (0.0,) * classes, logits.dtype))
    p, wrong = np.exp(log_p), _wrong(log_p)
    c = (1 - spec.label_smoothing) * shares[known] + spec.label_smoothing / classes
    c = (c * np.array(spec.class_weights or (1.0,) * classes) / len(p)).astype(logits.dtype)
    by_log_p = -c * wrong**spec.focal
    if spec.focal:
        by_log_p += c * spec.focal * p * log_p * wrong ** (spec.focal - 1)
    gradient = np.zeros_like(logits)
    gradient[known] = by_log_p - p * by_log_p.sum(1, keepdims=True)
    return -(c * wrong**spec.focal * log_p).sum(), gradient


def _wrong(log_p: np.ndarray) -> np.ndarray:
    """1 - p, not 0: there a power below 1 has no derivative."""
    return np.asarray(np.maximum(-np.expm1(log_p), np.finfo(log_p.dtype).tiny))


def _tasks(spec: LossSpec, logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total, gradient = np.zeros(()), np.zeros_like(logits)
    for task, outputs, columns in spans(spec.tasks):
        z, y = logits[:, outputs], targets[:, columns]
        known = ~np.isnan(y)
        target, count = np.where(known, y, 0), max(int(known.sum()), 1)
        if task.kind == "single-label":
            loss, by_z = cross_entropy(task.loss, z, np.where(known, y, -1)[:, 0].astype(np.int64))
        elif task.kind == "multi-label":
            each = np.maximum(z, 0) - z * target + np.log1p(np.exp(-np.abs(z)))
            loss, by_z = (each * known).sum() / count, (1 / (1 + np.exp(-z)) - target) * known / count
        else:
            loss, by_z = (((z - target) ** 2) * known).sum() / count, 2 * (z - target) * known / count
        total = total + task.weight * loss
        gradient[:, outputs] = task.weight * by_z
    return total, gradient


def _log_softmax(z: np.ndarray) -> np.ndarray:
    shifted = z - z.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))
