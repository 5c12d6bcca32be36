"""The loss of `LossSpec` in TensorFlow, by torch's rule."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from xfer.numerics import LossSpec


def cross_entropy(spec: LossSpec, logits: Any, labels: Any) -> Any:
    """The mean loss of logits (N, K) against class indices (N,); the formula is in `LossSpec`."""
    classes = logits.shape[-1]
    log_p = tf.nn.log_softmax(logits)
    weights = tf.constant(spec.class_weights or (1.0,) * classes, logits.dtype)
    of_label = tf.gather(weights, labels)
    loss = tf.reduce_sum(-of_label * tf.gather(log_p, labels, batch_dims=1))
    if spec.label_smoothing:
        uniform = tf.reduce_sum(-log_p * weights) / classes
        loss = (1 - spec.label_smoothing) * loss + spec.label_smoothing * uniform
    return loss / tf.reduce_sum(of_label)
