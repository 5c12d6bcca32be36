"""One pass as it is recorded: calls of layers and of operations, loss and gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
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
    """One pass: the calls of layers and operations, each with its inputs, configuration and output.

    It is made eagerly, or in a `tf.function`, whose outputs are then those of every call.
    """

    def __init__(self, recorder: KerasRecorder) -> None:
        self.recorder = recorder
        self.layers: list[Layer] = []
        self.training: dict[str, bool] = {}

    def run(self, images: Any, loss_of: Callable[[Any], Any] | None, trained: Mapping[str, Any]) -> dict[str, Any]:
        """The pass in training.

        Args:
            images: as the network gets them.
            loss_of: the loss of the network's output; None for a forward pass alone.
            trained: tensors by name, whose gradients are computed.

        Returns:
            Tensors and arrays: `out/...` of layers, `batch/output/...`, `batch_mean/...` and so on, `gradient/...`, and
            `loss`.
        """
        self.layers, self.training, self.counts = [], {}, {}
        self.arrays: dict[str, Any] = {}
        self.made: dict[int, tuple[Any, str]] = {}
        tape = tf.GradientTape(watch_accessed_variables=loss_of is not None)  # or it keeps what no gradient needs
        with self.patched(), tape, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.tape: tf.GradientTape | None = tape
            images = tf.nest.map_structure(tf.convert_to_tensor, images)
            for each in tf.nest.flatten(images):
                self.seen(each, "batch/images")
            output = self.recorder.model(images, training=True)
            loss = None if loss_of is None else loss_of(output)
        self.tape = None
        self.arrays |= {f"batch/output/{i}": each for i, each in enumerate(tf.nest.flatten(output))}
        self.made = {}
        if loss is not None:
            found = tape.gradient(loss, [v.value for v in trained.values()])
            self.arrays |= {
                f"gradient/{name}": tf.convert_to_tensor(gradient)
                for name, gradient in zip(trained, found, strict=True)
                if gradient is not None
            }
            self.arrays["loss"] = loss
        return self.arrays

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
            if self.tape is None:  # once more for its gradient, in a keras.RematScope
                return call(*args, **kwargs)
            tensors = [x for x in tf.nest.flatten((args, kwargs)) if tf.is_tensor(x)]
            keys = [self.reference(x) for x in tensors]
            training = bool(kwargs.get("training"))
            before: list[Any] = []
            moments: list[Any] = []
            with _calls_kept(layer, before, moments):
                output = call(*args, **kwargs)
            if tensors and tf.is_tensor(output):
                self.training[layer.name] = training
                with self.tape.stop_recording():
                    self.add_layer(layer, tensors[0], training, keys, before, moments, output)
            return output

        return seen

    def add_layer(
        self, layer: Any, x: Any, training: bool, keys: list[str], before: list[Any], moments: list[Any], output: Any
    ) -> None:
        found = describe_layer(layer, tuple(x.shape), training)
        if found.kind == "other" and not found.parameters and x.shape == output.shape:
            found = Described("activation", {"name": "unknown", "function": type(layer).__name__})
        names = self.recorder.names
        roles = {role: names[id(v)] for role, v in found.parameters.items() if id(v) in names}
        if found.kind == "batch_norm" and found.config["batch"]:
            mean, variance = moments[0] if moments else _moments(layer, x)
            self.arrays |= {
                f"batch_mean/{layer.name}": mean,
                f"batch_variance/{layer.name}": variance,
                f"batch_count/{layer.name}": tf.reshape(tf.size(x, tf.int64) // int(x.shape[layer.axis]), (1,)),
            }
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
        self.arrays[key] = self.recorder.part(output)
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
        self.arrays[key] = self.recorder.part(tensor)
        return key


def _moments(layer: Any, x: Any) -> tuple[Any, Any]:
    """Mean and biased variance of the whole batch; about the mean of one image, which keeps digits in float32."""
    x = tf.cast(x, tf.float64 if x.dtype == tf.float64 else tf.float32)
    x = tf.experimental.numpy.moveaxis(x, layer.axis, -1)
    x = tf.reshape(x, (tf.shape(x)[0], -1, x.shape[-1]))
    first = tf.reduce_mean(x[0], 0)
    x -= first
    mean, square = (tf.reduce_mean(tf.cast(tf.reduce_mean(each, 1), tf.float64), 0) for each in (x, tf.square(x)))
    return tf.cast(first, tf.float64) + mean, square - tf.square(mean)


@contextmanager
def _calls_kept(layer: Any, before: list[Any], moments: list[Any]) -> Iterator[None]:
    """Keep what a layer's activation gets, and mean and variance of the batch as Keras's batch normalisation has them.

    A layer with a rule of its own for them is left alone.
    """
    fused = fused_activation(layer)
    own = getattr(type(layer), "_moments", None) is keras.layers.BatchNormalization._moments
    own = own and "_moments" not in vars(layer)
    if fused is not None:
        object.__setattr__(layer, "activation", _keeping(fused, before))
    if own:
        object.__setattr__(layer, "_moments", _keeping_result(layer._moments, moments))
    try:
        yield
    finally:
        if fused is not None:
            object.__setattr__(layer, "activation", fused)
        if own:
            object.__delattr__(layer, "_moments")


def _keeping(function: Callable[[Any], Any], into: list[Any]) -> Callable[[Any], Any]:
    def seen(x: Any) -> Any:
        into.append(x)
        return function(x)

    return seen


def _keeping_result(function: Callable[..., Any], into: list[Any]) -> Callable[..., Any]:
    def seen(*args: Any) -> Any:
        into.append(function(*args))
        return into[-1]

    return seen


def _has_layers(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Layer) and any(layer._flatten_layers(include_self=False, recursive=False))


def array(value: Any) -> np.ndarray:
    """The numbers on the host; bfloat16 is widened."""
    if isinstance(value, keras.Variable):
        value = value.value
    found = value.numpy() if hasattr(value, "numpy") else np.asarray(value)  # numpy() copies
    return np.asarray(found.astype(np.float32) if str(found.dtype) == "bfloat16" else found)
