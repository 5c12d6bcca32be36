"""Heads as Keras layers."""

from __future__ import annotations

from typing import Any

from keras import layers

from xfer.models.spec import ModelSpec
from xfer.specs.head import Head
from xfer_keras_nets.layers import BatchNorm


def build_heads(spec: ModelSpec, x: Any) -> Any:
    """Outputs of the head of a network, or of those of all its tasks side by side."""
    outputs = [build_head(head, x, prefix, number) for prefix, (head, number) in spec.heads.items()]
    return layers.Concatenate(name="outputs")(outputs) if spec.tasks else outputs[0]


def build_head(head: Head, x: Any, prefix: str, classes: int) -> Any:
    """Logits (N, classes) of features (N, D); the layers carry the names of `Head.shapes`."""
    if head.linear:
        if head.dropout:
            x = layers.Dropout(head.dropout, name=f"{prefix}.dropout")(x)
        return layers.Dense(classes, name=prefix)(x)
    for i, width in enumerate(head.hidden):
        x = layers.Dense(width, name=f"{prefix}.hidden{i}")(x)
        if head.norm == "batch":
            x = BatchNorm(0.1, 1e-5, name=f"{prefix}.norm{i}")(x)
        elif head.norm == "layer":
            x = layers.LayerNormalization(epsilon=1e-5, name=f"{prefix}.norm{i}")(x)
        x = layers.ReLU(name=f"{prefix}.relu{i}")(x)
        if head.dropout:
            x = layers.Dropout(head.dropout, name=f"{prefix}.dropout{i}")(x)
    return layers.Dense(classes, name=f"{prefix}.out")(x)
