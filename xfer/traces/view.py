"""A trace in one set of layouts: images (N, C, H, W), kernels (O, I, H, W), dense weights (O, I)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from xfer.traces import reference
from xfer.traces.trace import Trace

Array = np.ndarray
_STRUCTURE = ("identity", "rescale", "permute")  # of no interest by themselves
_PASSED = ("dropout", "activation", "identity", "batch_norm")  # between flatten and the first dense layer


@dataclass(frozen=True)
class Node:
    """A layer with the padding that stands before it folded into it.

    Attributes:
        name: of the layer.
        kind, config: see `xfer.traces.reference`.
        parameters: names of tensors by role.
        inputs: keys of arrays.
        output: likewise.
        native: name of its class or function.
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    parameters: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    output: str = ""
    native: str = ""


class View:
    """What the stages ask of a trace."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.notes, self.keras, self.steps = trace, trace.notes, trace.keras, trace.steps
        self.u = trace.notes.roundoff
        self.made = {layer.output: layer for layer in trace.notes.layers}
        self.last = self.channels_last

    @property
    def channels_last(self) -> bool:
        """Whether images are (N, H, W, C)."""
        return self.notes.channels == "last"

    @cached_property
    def probabilities(self) -> bool:
        """Whether the network ends with a softmax."""
        last = self.notes.layers[-1] if self.notes.layers else None
        return last is not None and last.kind == "activation" and last.config.get("name") == "softmax"

    @cached_property
    def nodes(self) -> list[Node]:
        """Layers that compute something, in order, without a softmax at the end."""
        layers = self.notes.layers[:-1] if self.probabilities else self.notes.layers
        found = []
        for layer in layers:
            if layer.kind in _STRUCTURE or (layer.kind == "pad" and self._is_folded(layer.output)):
                continue
            config, inputs = dict(layer.config), list(layer.inputs)
            before = self.made.get(inputs[0]) if inputs else None
            if layer.kind in ("conv", "pool") and before is not None and before.kind == "pad":
                added = zip(config["padding"], before.config["padding"], strict=True)
                config["padding"] = [[p + q for p, q in zip(own, more, strict=True)] for own, more in added]
                if layer.kind == "pool" and config["pooling"] == "max":
                    config["pad_value"] = before.config["value"]
                inputs = list(before.inputs)
            if layer.kind == "flatten" and inputs and self._is_flat(inputs[0]):
                continue
            node = Node(layer.name, layer.kind, config, layer.parameters, tuple(inputs), layer.output, layer.native)
            found.append(node)
        return found

    def _is_folded(self, output: str) -> bool:
        users = [layer for layer in self.notes.layers if output in layer.inputs]
        zero = self.made[output].config.get("value") == 0
        return bool(users) and zero and all(u.kind in ("conv", "pool") for u in users)

    def _is_flat(self, key: str) -> bool:
        """Whether flattening changes nothing but the shape."""
        x = self.steps[0].get(key)
        return x is None or x.ndim < 3 or self._image(x).reshape(*x.shape[:1], -1).shape[1] == self._image(x).shape[1]

    def _image(self, x: Array, last: bool | None = None) -> Array:
        last = self.channels_last if last is None else last
        return np.moveaxis(x, -1, 1) if last and x.ndim >= 4 else x

    def array(self, key: str, node: Node | None = None, step: int = 0) -> Array | None:
        """An input or output, images as (N, C, H, W)."""
        x = self.steps[step].get(key)
        if x is None:
            return None
        last = self.channels_last
        if node is not None and not self.keras and x.ndim == 4:  # where torch itself has the channels last
            last = node.kind == "dense" or (node.kind == "layer_norm" and node.config["axes"] == 1)
        return self._image(x, last)

    def inputs(self, node: Node) -> list[Array] | None:
        """Inputs of a layer in the first step; None where one was not kept."""
        found = [self.array(key, node) for key in node.inputs]
        if node.kind not in ("add", "multiply", "concatenate"):
            found = found[:1]
        kept = [x for x in found if x is not None]
        if len(kept) < len(found) or not kept:
            return None
        n = min(len(x) for x in kept)
        return [x[:n] for x in kept]

    def output(self, node: Node) -> Array | None:
        """The output of a layer in the first step."""
        y = self.array(node.output, node)
        return y.reshape(y.shape[:2]) if y is not None and node.kind == "global_pool" else y

    def images(self, step: int) -> Array | None:
        """The batch as the first layer that computes gets it, after rescaling inside of the network."""
        key = "batch/images"
        for layer in self.notes.layers:
            if layer.kind == "rescale" and layer.inputs[:1] == [key]:
                key = layer.output
        found = self.steps[step].get(key)
        found = self.steps[step].get("batch/images") if found is None else found
        return None if found is None else self._image(found)

    def raw(self, step: int) -> list[Array]:
        """The images before any preprocessing, (H, W, 3) of bytes, as far as they are known."""
        found = (self.steps[step].get(f"raw/{i}") for i in range(self.notes.samples))
        return [x for x in found if x is not None and x.ndim == 3 and x.dtype == np.uint8]

    def weights(self, node: Node, step: int = 0) -> dict[str, Array]:
        """Weights of a layer by role before a step; of batch norm the statistics that it uses."""
        found = {}
        for role, name in node.parameters.items():
            array = self.tensor(name, f"before/{name}", step)
            if array is not None:
                found[role] = array
        if node.kind == "batch_norm" and node.config["batch"]:
            base = node.name.partition("#")[0]
            for role in ("mean", "variance", "count"):
                array = self.steps[step].get(f"batch_{role}/{base}")
                if array is not None:
                    found[role] = array
        return found

    @cached_property
    def owners(self) -> dict[str, tuple[Node, str]]:
        """The layer and the role of each tensor that a known layer has."""
        return {name: (node, role) for node in reversed(self.nodes) for role, name in node.parameters.items()}

    def tensor(self, name: str, key: str, step: int) -> Array | None:
        """A weight, or its gradient or slot (by key), in PyTorch's layout."""
        array = self.steps[step].get(key)
        return None if array is None else self.canonical(name, array)

    def canonical(self, name: str, array: Array) -> Array:
        """An array that has the layout of a tensor, in PyTorch's."""
        if not self.keras or name not in self.owners:
            return array
        node, role = self.owners[name]
        if role != "weight":
            return array
        if node.kind == "dense" and array.ndim == 2:
            return array.T
        if node.kind == "conv" and node.config.get("depthwise"):
            moved = np.moveaxis(array, (-2, -1), (0, 1))
            return moved.reshape(-1, 1, *moved.shape[2:])
        return np.moveaxis(array, (-1, -2), (0, 1)) if node.kind == "conv" else array

    def layout(self, name: str) -> str:
        """What `canonical` does, in words."""
        if not self.keras or name not in self.owners:
            return ""
        node, role = self.owners[name]
        return {"dense": "(I, O) to (O, I)", "conv": "HWIO to OIHW"}.get(node.kind, "") if role == "weight" else ""

    @cached_property
    def tensors(self) -> list[str]:
        """Names of all weights, in the order of the layers, then the others."""
        names = [name for node in self.nodes for name in node.parameters.values()]
        kept = sorted(
            n.removeprefix("before/") for n in self.steps[0].names if n.startswith("before/") and "@" not in n
        )
        skipped = ("num_batches_tracked", "seed_generator_state")
        return [n for n in dict.fromkeys([*names, *kept]) if not n.endswith(skipped) and f"before/{n}" in self.steps[0]]

    @cached_property
    def trainable(self) -> set[str]:
        """Tensors that get gradients and that the optimizer has."""
        grouped = {name for group in self.notes.groups for name in group.tensors} or set(self.notes.trainable)
        found = {key.removeprefix("gradient/") for step in self.steps for key in step.names}
        return set(self.notes.trainable) & grouped & found

    def explained(self, node: Node) -> float | None:
        """How far the recorded output lies from the reference, in units of what rounding allows; None if unknown."""
        inputs, output = self.inputs(node), self.output(node)
        if inputs is None or output is None:
            return None
        try:
            value, scale = reference.compute(node.kind, node.config, inputs, self.weights(node))
        except reference.UnknownLayerError:
            return None
        return excess(output, value, scale, self.u)

    def flattened(self, node: Node) -> tuple[tuple[int, ...], str] | None:
        """(C, H, W) and the order in which they were flattened before a dense layer."""
        key = node.inputs[0] if node.inputs else ""
        while (before := self.made.get(key)) is not None and before.kind in _PASSED:
            key = before.inputs[0]
        if before is None or before.kind != "flatten":
            return None
        x = self.array(before.inputs[0])
        return None if x is None or x.ndim < 4 else (x.shape[1:], before.config["order"])


def excess(actual: Array, value: Array, scale: Array, u: float) -> float:
    """The largest distance of an array from a value, in units of u * scale."""
    n = min(len(actual), len(value))
    actual, value, scale = actual[:n], value[:n], np.broadcast_to(scale, value.shape)[:n]
    if actual.shape != value.shape:
        return float("inf")
    distance = np.abs(actual - value) / (u * scale + np.finfo(np.float32).tiny)
    return float(np.nan_to_num(distance, nan=np.inf).max(initial=0))


def relative(a: Array, b: Array) -> float:
    """The largest difference, relative to the largest value of the first."""
    if a.shape != b.shape:
        return float("inf")
    wide = a.astype(np.float64)
    largest = float(np.abs(wide).max(initial=0))
    difference = float(np.nan_to_num(np.abs(wide - b), nan=np.inf).max(initial=0))
    return difference / largest if largest else (0.0 if not difference else float("inf"))
