"""Heads: from features to class scores, with initial weights that are equal on every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xfer.errors import UsageError
from xfer.specs.estimator import check_estimator
from xfer.specs.initialization import glorot_uniform, uniform

Norm = Literal["batch", "layer"]


@dataclass(frozen=True)
class Head:
    """A linear classifier, or an MLP with `hidden` widths, on features of width D.

    Each hidden layer is linear, optional normalisation, ReLU, dropout. The layers are named after the network's own
    classifier (`fc` in a ResNet): a linear head is `fc.weight`, an MLP `fc.hidden0.weight`, `fc.norm0.weight`, ...,
    `fc.out.weight`, so that a linear head loads into torchvision as it is.

    Args:
        hidden: widths of the hidden layers; empty for a linear head.
        dropout: probability of dropping a unit before the last layer and after each hidden one, in [0, 1).
        norm: normalisation of the hidden layers: "batch", "layer" or None.
    """

    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    norm: Norm | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"head dropout={self.dropout} is not in [0, 1): give for example 0.2")
        if any(width < 1 for width in self.hidden):
            raise UsageError(f"head hidden={self.hidden}: every width must be at least 1")
        if self.norm not in (None, "batch", "layer"):
            raise UsageError(f"head norm={self.norm!r}: give 'batch', 'layer' or None")
        if self.norm and not self.hidden:
            raise UsageError("head norm needs hidden layers: give for example hidden=(256,)")

    @staticmethod
    def sklearn(estimator: Any) -> EstimatorHead:
        """A head that is any classifier of scikit-learn, fitted on the features of a frozen backbone."""
        return EstimatorHead(estimator)

    @property
    def linear(self) -> bool:
        """Whether the head is one linear layer under the classifier's own name."""
        return not self.hidden

    def shapes(self, prefix: str, features: int, classes: int) -> dict[str, tuple[int, ...]]:
        """Canonical tensor names and shapes of this head: linear weights are (out, in), as in torch."""
        if self.linear:
            return {f"{prefix}.weight": (classes, features), f"{prefix}.bias": (classes,)}
        shapes: dict[str, tuple[int, ...]] = {}
        width = features
        for i, hidden in enumerate(self.hidden):
            shapes |= {f"{prefix}.hidden{i}.weight": (hidden, width), f"{prefix}.hidden{i}.bias": (hidden,)}
            if self.norm:
                shapes |= {f"{prefix}.norm{i}.weight": (hidden,), f"{prefix}.norm{i}.bias": (hidden,)}
            if self.norm == "batch":
                shapes |= {f"{prefix}.norm{i}.running_mean": (hidden,), f"{prefix}.norm{i}.running_var": (hidden,)}
            width = hidden
        return shapes | {f"{prefix}.out.weight": (classes, width), f"{prefix}.out.bias": (classes,)}

    def initial(
        self, prefix: str, features: int, classes: int, seed: int = 0, init: str | None = None
    ) -> dict[str, np.ndarray]:
        """Seeded initial weights, float32: torch's default for linear layers, U(-1/sqrt(in), 1/sqrt(in)).

        With init="glorot" Keras's default: weights U(-a, a), a = sqrt(6 / (in + out)), and biases 0.
        """
        shapes = self.shapes(prefix, features, classes)
        return {name: _initial(name, shape, shapes, seed, init) for name, shape in shapes.items()}


@dataclass(frozen=True, eq=False)
class EstimatorHead:
    """A head that `fit` fits instead of training: one pass for the features, then the estimator's own algorithm.

    Args:
        estimator: a classifier with `predict_proba` or `decision_function`, not fitted; a pipeline is one too.
    """

    estimator: Any

    def __post_init__(self) -> None:
        check_estimator(self.estimator)

    def __repr__(self) -> str:
        return f"EstimatorHead({type(self.estimator).__name__})"


def _initial(
    name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]], seed: int, init: str | None
) -> np.ndarray:
    layer, kind = name.rsplit(".", 1)
    if len(shapes[f"{layer}.weight"]) == 1:
        return np.full(shape, kind in ("weight", "running_var"), np.float32)
    if init == "glorot":
        return glorot_uniform(name, shape, seed=seed) if kind == "weight" else np.zeros(shape, np.float32)
    return uniform(name, shape, fan_in=shapes[f"{layer}.weight"][1], seed=seed)
