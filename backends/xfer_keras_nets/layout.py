"""Canonical names and torch's layouts for Keras variables: the one place where axes are permuted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import layers

# Axes of a Keras kernel in torch's order: (kh, kw, in, out) to (out, in, kh, kw), (in, out) to (out, in).
_AXES = {"conv": (3, 2, 0, 1), "depthwise": (2, 3, 0, 1), "dense": (1, 0)}
# Keras's names of its variables; the layers of xfer_keras_nets.layers give theirs torch's names and layouts.
_ROLES = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@dataclass(frozen=True)
class Tensor:
    """A Keras variable, the layer that owns it, and how its axes lie."""

    layer: Any
    variable: Any
    axes: tuple[int, ...] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in torch's layout."""
        shape = tuple(self.variable.shape)
        return tuple(shape[axis] for axis in self.axes) if self.axes else shape

    def from_keras(self, array: np.ndarray) -> np.ndarray:
        """An array like the variable, in torch's layout."""
        return np.array(array.transpose(self.axes) if self.axes else array, order="C")

    def to_keras(self, array: np.ndarray) -> np.ndarray:
        """An array in torch's layout, like the variable."""
        return array.transpose(np.argsort(self.axes)) if self.axes else array


def tensors(net_layers: Iterable[Any]) -> dict[str, Tensor]:
    """All weights and statistics of Keras layers by canonical name, in the order of the layers."""
    found = {}
    for layer in net_layers:
        for variable in layer.weights:
            own = getattr(layer, "names_are_torchs", False)
            role = variable.name if own else _ROLES.get(variable.name, variable.name)
            axes = _axes(layer) if variable.name == "kernel" else None
            # A weight of torch's root module has no module before its name; here its layer bears the name.
            name = role if role == layer.name else f"{layer.name}.{role}"
            found[name] = Tensor(layer, variable, axes)
    return found


def _axes(layer: Any) -> tuple[int, ...]:
    if isinstance(layer, layers.DepthwiseConv2D):
        return _AXES["depthwise"]
    return _AXES["conv" if isinstance(layer, layers.Conv2D) else "dense"]


def forward_order(end: Any, start: Any) -> list[Any]:
    """The layers between two tensors of a functional graph, as torch lists modules: a residual before its shortcut."""
    found: dict[int, Any] = {}
    visited = {id(start)}

    def visit(tensor: Any) -> None:
        if id(tensor) in visited:
            return
        visited.add(id(tensor))
        layer, node, _ = tensor._keras_history
        for source in layer._inbound_nodes[node].input_tensors:
            visit(source)
        found.setdefault(id(layer), layer)

    visit(end)
    return [operation for operation in found.values() if isinstance(operation, layers.Layer)]
