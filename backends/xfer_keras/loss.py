"""The loss of `LossSpec` in TensorFlow, by torch's rule."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from xfer.numerics import LossSpec


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
        nll *= (-tf.math.expm1(-nll)) ** spec.focal
    loss = tf.reduce_sum(of_label * nll)
    if spec.label_smoothing:
        uniform = tf.reduce_sum(-log_p * weights * known[:, None]) / classes
        loss = (1 - spec.label_smoothing) * loss + spec.label_smoothing * uniform
    return tf.math.divide_no_nan(loss, tf.reduce_sum(of_label))
