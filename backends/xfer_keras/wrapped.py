"""BaseModel around any functional model of Keras."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from xfer.errors import UsageError
from xfer.models.engine import Engine
from xfer.models.spec import Description, ModelSpec
from xfer.specs.inputs import Inputs
from xfer_keras.model import KerasModel
from xfer_keras.nets.head import build_heads
from xfer_keras.nets.layout import Tensor, tensors

_STANDARD = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense, layers.BatchNormalization, layers.LayerNormalization)


class WrappedModel(KerasModel):
    """A user's model, cut in two at the head's input."""

    def __init__(self, backend: Engine, spec: ModelSpec, native: keras.Model) -> None:
        self._whole = native
        super().__init__(backend, spec)

    def build(self) -> None:
        native, old = self._whole, self._whole.get_layer(self.card.head)
        if old.variable_dtype != self.dtype.name:
            raise UsageError(f"{native.name} was built in {old.variable_dtype}: leave precision out")
        native.trainable = True
        self._input, self._ends = native.inputs[0], {"features": old.input}
        self._body = keras.Model(native.inputs, old.input)
        self._of_body = _all_tensors(list(_leaves(self._body)))
        self.build_head()
        weights = dict(zip(("weight", "bias"), old.get_weights(), strict=False))
        kernel = weights["weight"].T
        self.write({f"{old.name}.weight": kernel, f"{old.name}.bias": weights.get("bias", np.zeros(len(kernel)))})

    def build_head(self) -> None:
        with tf.device(self.device), self._policy():
            logits = build_heads(self.spec, self._ends["features"])
        self.native = keras.Model(self._input, logits, name=self._whole.name)
        self.stages = {"body": self._body, "head": keras.Model(self._ends["features"], logits)}
        self._branches = {}
        self._layers = {"body": list(_leaves(self._body)), "head": list(_leaves(self.stages["head"]))}
        self._tensors = self._of_body | tensors(self._layers["head"])
        self._compiled = {}
        self._models: dict[tuple[str, ...], keras.Model] = {}

    @property
    def entries(self) -> tuple[str, ...]:
        """Only the head is known to follow on another layer."""
        return ("features",)

    def steps(self, after: str | None) -> dict[str, keras.Model]:
        return {"head": self.stages["head"]} if after else self.stages

    def run(self, inputs: Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        wanted = tuple(stages)
        if wanted not in self._models:
            ends = {name: self._whole.get_layer(name).output for name in stages if name in self.card.blocks}
            ends |= {"features": self._ends["features"], "head": self.native.outputs[0], "input": self._input}
            self._models[wanted] = keras.Model(self._input, {name: ends[name] for name in wanted})
        body = self._head if inputs.after else partial(self._all, self._models[wanted], wanted)
        found = self.call(body, (inputs.after, wanted), inputs)
        return {name: array[: len(inputs)] for name, array in zip(wanted, found, strict=True)}

    def _head(self, features: Any) -> list[Any]:
        return [tf.cast(self.stages["head"](features, training=False), self.dtype)]

    def _all(self, model: keras.Model, wanted: tuple[str, ...], pixels: Any) -> list[Any]:
        found = model(self.normalise(pixels), training=False)
        return [tf.cast(found[name], self.dtype) for name in wanted]


def describe(native: Any, head: str) -> Description:
    """What `xfer.wrap` needs to know of a model."""
    if not isinstance(native, keras.Model):
        raise UsageError(f"a {type(native).__name__} is no keras.Model: give the network itself")
    kind = type(native).__name__
    if len(getattr(native, "inputs", None) or []) != 1 or not getattr(native, "outputs", None):
        raise UsageError(f"{kind} is not functional with one input: build it as keras.Model(input, output)")
    names = [layer.name for layer in native.layers]
    if head not in names:
        raise UsageError(f"{kind} has no layer {head!r} for a head: its last layers are {', '.join(names[-5:])}")
    last = native.get_layer(head)
    if not isinstance(last, layers.Dense):
        raise UsageError(f"head {head!r} is a {type(last).__name__}: name the Dense layer that gives the logits")
    side, dtype = native.inputs[0].shape[1], last.compute_dtype
    return Description(
        name=re.sub(r"_\d+$", "", native.name),  # Keras numbers what it names by itself
        blocks={layer.name: _prefixes(layer) for layer in native.layers if layer.weights and layer is not last},
        head=head,
        feature_dim=last.kernel.shape[0],
        classes=last.units,
        parameters=native.count_params(),
        precision="fp64" if dtype == "float64" else "fp32",
        image_size=side,
    )


def _prefixes(layer: Any) -> tuple[str, ...]:
    if isinstance(layer, keras.Model):
        return tuple(inner.name for inner in _leaves(layer) if inner.weights)
    return (layer.name,)


def _leaves(model: Any) -> Iterator[Any]:
    """All layers, those of nested models one by one."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        elif not isinstance(layer, layers.InputLayer):
            yield layer


def _all_tensors(found: Sequence[Any]) -> dict[str, Tensor]:
    """Tensors of the usual layers under torch's names and layouts, those of others as they are, by their path."""
    named = tensors(layer for layer in found if isinstance(layer, _STANDARD))
    for layer in found:
        if not isinstance(layer, _STANDARD):
            for variable in layer.trainable_variables:
                path = variable.path.partition(layer.name)[2].strip("/").replace("/", ".")
                named[f"{layer.name}.{path}"] = Tensor(layer, variable, None)
    return named
