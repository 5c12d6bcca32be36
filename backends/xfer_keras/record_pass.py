"""One eager forward pass as it is recorded: calls of layers and of operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from xfer.traces.trace import Layer
from xfer_keras.record_layers import Described, activation, describe_layer, fused_activation

if TYPE_CHECKING:
    from xfer_keras.record import KerasRecorder


class Replay:
    """One eager pass: the calls of layers and operations, each with its inputs, configuration and output."""

    def __init__(self, recorder: KerasRecorder) -> None:
        self.recorder = recorder
        self.layers: list[Layer] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.training: dict[str, bool] = {}
        self.made: dict[int, tuple[Any, str]] = {}
        self.counts: dict[str, int] = {}

    @contextmanager
    def patched(self) -> Iterator[None]:
        """See every call of a layer in the block."""
        model = self.recorder.model
        found = list(model._flatten_layers(include_self=False, recursive=True))
        inner = [m for m in (model, *found) if isinstance(m, keras.Model)]
        found += [op for m in inner for op in getattr(m, "operations", ()) if not isinstance(op, keras.layers.Layer)]
        changed: list[tuple[Any, str]] = []
        try:
            for layer in {id(x): x for x in found}.values():
                if isinstance(layer, keras.layers.InputLayer) or _has_layers(layer):
                    continue
                object.__setattr__(layer, "call", self.call(layer, layer.call))
                changed.append((layer, "call"))
            yield
        finally:
            for layer, name in changed:
                object.__delattr__(layer, name)

    def call(self, layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in the place of a layer's `call`."""

        def seen(*args: Any, **kwargs: Any) -> Any:
            tensors = [x for x in tf.nest.flatten((args, kwargs)) if tf.is_tensor(x)]
            keys = [self.reference(x) for x in tensors]
            training = bool(kwargs.get("training"))
            before: list[Any] = []
            fused = fused_activation(layer)
            if fused is not None:
                object.__setattr__(layer, "activation", _keeping(fused, before))
            try:
                output = call(*args, **kwargs)
            finally:
                if fused is not None:
                    object.__setattr__(layer, "activation", fused)
            if tensors and tf.is_tensor(output):
                self.training[layer.name] = training
                self.add_layer(layer, tensors[0], training, keys, before, output)
            return output

        return seen

    def add_layer(self, layer: Any, x: Any, training: bool, keys: list[str], before: list[Any], output: Any) -> None:
        found = describe_layer(layer, tuple(x.shape), training)
        if found.kind == "other" and not found.parameters and x.shape == output.shape:
            found = Described("activation", {"name": "unknown", "function": type(layer).__name__})
        names = self.recorder.names
        roles = {role: names[id(v)] for role, v in found.parameters.items() if id(v) in names}
        if found.kind == "batch_norm":
            self.statistics(layer, x)
        if not before:
            self.add(layer.name, found.kind, found.config, type(layer).__name__, roles, keys, output)
            return
        key = self.add(layer.name, found.kind, found.config, type(layer).__name__, roles, keys, before[0])
        config = activation(fused_activation(layer))
        self.add(f"{layer.name}.activation", "activation", config, type(layer).__name__, {}, [key], output)

    def add(
        self, name: str, kind: str, config: dict[str, Any], native: str, roles: dict[str, str], keys: list[str],
        output: Any,
    ) -> str:  # fmt: skip
        count = self.counts[name] = self.counts.get(name, 0) + 1
        unique = name if count == 1 else f"{name}#{count}"
        key = f"out/{unique}"
        self.seen(output, key)
        if not self.recorder.written:
            self.arrays[key] = array(self.recorder.part(output))
        self.layers.append(Layer(unique, kind, config, native, roles, keys, key))
        return key

    def seen(self, tensor: Any, key: str) -> None:
        self.made[id(tensor)] = (tensor, key)  # kept alive, so that no other tensor gets its identity

    def reference(self, tensor: Any) -> str:
        found = self.made.get(id(tensor))
        if found is not None:
            return found[1]
        key = f"in/{len(self.made)}"
        self.seen(tensor, key)
        if not self.recorder.written:
            self.arrays[key] = array(self.recorder.part(tensor))
        return key

    def statistics(self, layer: Any, x: Any) -> None:
        """Mean and biased variance of the whole batch, in float64."""
        axis = layer.axis % len(x.shape)
        axes = [i for i in range(len(x.shape)) if i != axis]
        mean, variance = tf.nn.moments(tf.cast(x, tf.float64), axes)
        self.arrays |= {
            f"batch_mean/{layer.name}": array(mean),
            f"batch_variance/{layer.name}": array(variance),
            f"batch_count/{layer.name}": np.asarray([int(tf.size(x)) // int(x.shape[axis])]),
        }

    def end(self, output: Any) -> None:
        for i, each in enumerate(tf.nest.flatten(output)):
            self.arrays[f"batch/output/{i}"] = array(each)
        self.made = {}


def _keeping(function: Callable[[Any], Any], into: list[Any]) -> Callable[[Any], Any]:
    def seen(x: Any) -> Any:
        into.append(x)
        return function(x)

    return seen


def _has_layers(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Layer) and any(layer._flatten_layers(include_self=False, recursive=False))


def array(value: Any) -> np.ndarray:
    """A copy on the host; bfloat16 is widened."""
    if isinstance(value, keras.Variable):
        value = value.value
    found = value.numpy() if hasattr(value, "numpy") else np.asarray(value)
    return np.array(found.astype(np.float32) if str(found.dtype) == "bfloat16" else found)
