"""The loss of `LossSpec` in TensorFlow, by torch's rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from xfer.specs.loss import LossSpec, spans


def loss_of(spec: LossSpec, logits: Any, labels: Any) -> Any:
    """The mean loss of logits (N, K) for labels int64 (N,), shares of classes (N, K), or targets of tasks (N, M)."""
    if spec.tasks:
        return _tasks(spec, logits, labels)
    return cross_entropy(spec, logits, labels) if labels.shape.rank == 1 else _soft_cross_entropy(spec, logits, labels)


def cross_entropy(spec: LossSpec, logits: Any, labels: Any) -> Any:
    """The mean loss of logits (N, K) against class indices (N,), negative where there is none; see `LossSpec`."""
    classes = logits.shape[-1]
    known = tf.cast(labels >= 0, logits.dtype)
    labels = tf.maximum(labels, 0)
    if spec.adjustment is not None:
        logits += tf.constant(spec.adjustment, logits.dtype)
    log_p = tf.nn.log_softmax(logits)
    weights = tf.constant(spec.class_weights or (1.0,) * classes, logits.dtype)
    of_label = tf.gather(weights, labels) * known
    nll = -tf.gather(log_p, labels, batch_dims=1)
    if spec.focal:
        nll *= _wrong(-nll) ** spec.focal
    loss = tf.reduce_sum(of_label * nll)
    if spec.label_smoothing:
        uniform = tf.reduce_sum(-log_p * weights * known[:, None]) / classes
        loss = (1 - spec.label_smoothing) * loss + spec.label_smoothing * uniform
    return tf.math.divide_no_nan(loss, tf.reduce_sum(known if spec.reduction == "count" else of_label))


def _soft_cross_entropy(spec: LossSpec, logits: Any, shares: Any) -> Any:
    classes = logits.shape[-1]
    known = tf.logical_not(tf.reduce_any(tf.math.is_nan(shares), axis=1))
    target = tf.cast(tf.where(known[:, None], shares, tf.zeros([], shares.dtype)), logits.dtype)
    if spec.adjustment is not None:
        logits += tf.constant(spec.adjustment, logits.dtype)
    log_p = tf.nn.log_softmax(logits)
    target = (1 - spec.label_smoothing) * target + spec.label_smoothing / classes
    if spec.focal:
        target *= _wrong(log_p) ** spec.focal
    target *= tf.constant(spec.class_weights or (1.0,) * classes, logits.dtype)
    known = tf.cast(known, logits.dtype)
    return tf.math.divide_no_nan(-tf.reduce_sum(target * log_p * known[:, None]), tf.reduce_sum(known))


def _wrong(log_p: Any) -> Any:
    """1 - p, not 0: there a power below 1 has no derivative."""
    return tf.maximum(-tf.math.expm1(log_p), log_p.dtype.as_numpy_dtype(np.finfo(log_p.dtype.as_numpy_dtype).tiny))


def _tasks(spec: LossSpec, logits: Any, targets: Any) -> Any:
    total = tf.zeros([], logits.dtype)
    for task, outputs, columns in spans(spec.tasks):
        z, y = logits[:, outputs], targets[:, columns]
        missing = tf.math.is_nan(y)
        if task.kind == "single-label":
            loss = cross_entropy(
                task.loss, z, tf.cast(tf.where(missing, tf.constant(-1.0, y.dtype), y)[:, 0], tf.int64)
            )
        else:
            target, known = tf.cast(tf.where(missing, tf.zeros([], y.dtype), y), z.dtype), tf.cast(~missing, z.dtype)
            multi = task.kind == "multi-label"
            each = tf.nn.sigmoid_cross_entropy_with_logits(target, z) if multi else (z - target) ** 2
            loss = tf.math.divide_no_nan(tf.reduce_sum(each * known), tf.reduce_sum(known))
        total += task.weight * loss
    return total
