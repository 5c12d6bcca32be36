"""Heads as torch modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xfer.models.spec import ModelSpec
from xfer.specs.head import Head


def build_heads(spec: ModelSpec) -> nn.Module:
    """The head of a network, or those of all its tasks, with undefined weights."""
    if not spec.tasks:
        return build_head(spec.head, spec.head_inputs, len(spec.classes))
    heads = {task.name: build_head(task.head, spec.head_inputs, len(task.classes)) for task in spec.tasks}
    return Heads(heads)


def build_head(head: Head, features: int, classes: int) -> nn.Module:
    """The module that `head` describes, from (N, features) to (N, classes), with undefined weights.

    Its submodules carry the names of `Head.shapes`.
    """
    drop = [nn.Dropout(head.dropout)] if head.dropout else []
    if head.linear and not drop:
        return nn.Linear(features, classes)
    if head.linear:
        return DroppedLinear(features, classes, head.dropout)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    width = features
    for i, hidden in enumerate(head.hidden):
        layers[f"hidden{i}"] = nn.Linear(width, hidden)
        if head.norm:
            layers[f"norm{i}"] = BatchNorm(hidden) if head.norm == "batch" else nn.LayerNorm(hidden)
        layers[f"relu{i}"] = nn.ReLU()
        if drop:
            layers[f"dropout{i}"] = nn.Dropout(head.dropout)
        width = hidden
    layers["out"] = nn.Linear(width, classes)
    return nn.Sequential(layers)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of the last axis, over all others."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, D), or (N, P, D) where the head reads every place of a map."""
        return super().forward(input.flatten(0, -2)).view_as(input)


class DroppedLinear(nn.Linear):
    """A linear layer with dropout on its input, so that its weights keep the layer's own name."""

    def __init__(self, features: int, classes: int, dropout: float) -> None:
        super().__init__(features, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        """(N, features) to (N, classes)."""
        return super().forward(self.dropout(input))


class Heads(nn.Module):
    """Heads of several tasks, their outputs side by side."""

    def __init__(self, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, head in heads.items():
            self.add_module(name, head)

    def forward(self, features: Tensor) -> Tensor:
        """(N, features) to (N, outputs of all tasks)."""
        return torch.cat([head(features) for head in self.children()], dim=-1)
