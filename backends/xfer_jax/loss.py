"""The loss of `LossSpec` in JAX, by torch's rule."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from xfer.specs.loss import LossSpec, spans


def loss_of(spec: LossSpec, logits: Any, labels: Any) -> Any:
    """The mean loss of logits (N, K) for labels int (N,), shares of classes (N, K), or targets of tasks (N, M)."""
    if spec.tasks:
        return _tasks(spec, logits, labels)
    return cross_entropy(spec, logits, labels) if labels.ndim == 1 else _soft_cross_entropy(spec, logits, labels)


def cross_entropy(spec: LossSpec, logits: Any, labels: Any) -> Any:
    """The mean loss of logits (N, K) against class indices (N,), negative where there is none; see `LossSpec`."""
    classes = logits.shape[-1]
    known = (labels >= 0).astype(logits.dtype)
    labels = jnp.maximum(labels, 0)
    if spec.adjustment is not None:
        logits += jnp.array(spec.adjustment, logits.dtype)
    log_p = jax.nn.log_softmax(logits)
    weights = jnp.array(spec.class_weights or (1.0,) * classes, logits.dtype)
    of_label = weights[labels] * known
    nll = -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    if spec.focal:
        nll *= _wrong(-nll) ** spec.focal
    loss = jnp.sum(of_label * nll)
    if spec.label_smoothing:
        uniform = jnp.sum(-log_p * weights * known[:, None]) / classes
        loss = (1 - spec.label_smoothing) * loss + spec.label_smoothing * uniform
    return _divided(loss, jnp.sum(known if spec.reduction == "count" else of_label))


def _soft_cross_entropy(spec: LossSpec, logits: Any, shares: Any) -> Any:
    classes = logits.shape[-1]
    known = ~jnp.isnan(shares).any(axis=1)
    target = jnp.where(known[:, None], shares, 0).astype(logits.dtype)
    if spec.adjustment is not None:
        logits += jnp.array(spec.adjustment, logits.dtype)
    log_p = jax.nn.log_softmax(logits)
    target = (1 - spec.label_smoothing) * target + spec.label_smoothing / classes
    if spec.focal:
        target *= _wrong(log_p) ** spec.focal
    target *= jnp.array(spec.class_weights or (1.0,) * classes, logits.dtype)
    known = known.astype(logits.dtype)
    return _divided(-jnp.sum(target * log_p * known[:, None]), jnp.sum(known))


def _wrong(log_p: Any) -> Any:
    """1 - p, not 0: there a power below 1 has no derivative."""
    return jnp.maximum(-jnp.expm1(log_p), jnp.finfo(log_p.dtype).tiny)


def _divided(total: Any, count: Any) -> Any:
    """0 where nothing counts."""
    return jnp.where(count == 0, 0, total / jnp.where(count == 0, 1, count))


def _tasks(spec: LossSpec, logits: Any, targets: Any) -> Any:
    total = jnp.zeros([], logits.dtype)
    for task, outputs, columns in spans(spec.tasks):
        z, y = logits[:, outputs], targets[:, columns]
        missing = jnp.isnan(y)
        if task.kind == "single-label":
            loss = cross_entropy(task.loss, z, jnp.where(missing, -1, y)[:, 0].astype(int))
        else:
            target, known = jnp.where(missing, 0, y).astype(z.dtype), (~missing).astype(z.dtype)
            each = _binary(z, target) if task.kind == "multi-label" else (z - target) ** 2
            loss = _divided(jnp.sum(each * known), jnp.sum(known))
        total += task.weight * loss
    return total


def _binary(z: Any, target: Any) -> Any:
    """Cross-entropy of sigmoid(z), exact for large |z| too."""
    return jnp.maximum(z, 0) - z * target + jnp.log1p(jnp.exp(-jnp.abs(z)))
