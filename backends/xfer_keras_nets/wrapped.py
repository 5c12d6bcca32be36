"""BaseModel around any functional model of Keras."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from xfer.errors import UsageError
from xfer.models.engine import Engine
from xfer.models.spec import Description, ModelSpec, block_names
from xfer.specs.inputs import Inputs
from xfer_keras_nets.head import build_heads
from xfer_keras_nets.layout import Tensor, tensors
from xfer_keras_nets.network import KerasNetwork
from xfer_keras_nets.shares import synchronise

_STANDARD = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense, layers.BatchNormalization, layers.LayerNormalization)

_STATISTICS = {"moving_mean": "running_mean", "moving_variance": "running_var"}


class WrappedNetwork(KerasNetwork):
    """A user's model, cut in two at the head's input."""

    def __init__(self, backend: Engine, spec: ModelSpec, native: keras.Model) -> None:
        self._whole, self._made_with = native, spec
        super().__init__(backend, spec)

    def made_from(self) -> tuple[Any, ...]:
        return self.backend, self._made_with, self._whole

    def build(self) -> None:
        native, named = self._whole, names_of(self._whole)
        old = next(layer for layer in native.layers if named[id(layer)] == self.card.head)
        if old.variable_dtype != self.dtype:
            raise UsageError(f"{native.name} was built in {old.variable_dtype}: leave precision out")
        native.trainable = True
        self._input, self._ends = native.inputs[0], {"features": old.input}
        self._body = keras.Model(native.inputs, old.input)
        self._of_body = _all_tensors(self._body, named)
        self._buffers = {name for name, tensor in self._of_body.items() if not tensor.variable.trainable}
        layers_of_blocks = _with_weights(native, old)
        blocks = block_names([named[id(layer)] for layer in layers_of_blocks])
        self._outputs = {block: layer.output for block, layer in zip(blocks, layers_of_blocks, strict=True)}
        parts = [part for layer in _leaves(self._body) for part in _parts(layer)]
        self._rates = {id(part): part.rate for part in parts if _drops(part)}
        for part in parts:
            if isinstance(part, layers.BatchNormalization):
                synchronise(part)
        self.build_head()
        weights = dict(zip(("weight", "bias"), old.get_weights(), strict=False))
        kernel = weights["weight"].T
        self.write(
            {f"{self.card.head}.weight": kernel, f"{self.card.head}.bias": weights.get("bias", np.zeros(len(kernel)))}
        )

    def build_head(self) -> None:
        with self.placed(), self.policy():
            read, beside = self.head_input()
            logits = build_heads(self.spec, read)
        self.native = keras.Model([self._input, *beside] if beside else self._input, logits, name=self._whole.name)
        self.stages = {"features": self._body, "head": keras.Model(read, logits)}
        self._branches = {}
        self._layers = {"features": list(_leaves(self._body)), "head": list(_leaves(self.stages["head"]))}
        self._tensors = self._of_body | tensors(self._layers["head"])
        self._compiled = {}
        self._models: dict[tuple[str, ...], keras.Model] = {}

    @property
    def entries(self) -> tuple[str, ...]:
        """Only the head is known to follow on another layer."""
        return ("features",)

    def buffers(self) -> frozenset[str]:
        return super().buffers() | self._buffers

    def steps(self, after: str | None) -> dict[str, keras.Model]:
        return {"head": self.stages["head"]} if after else self.stages

    def apply_trainable(self) -> None:
        live = {id(self._tensors[name].layer) for name in self.trainable}
        for layer in (layer for found in self._layers.values() for layer in found):
            for part in _parts(layer):  # from the outside in: Keras passes it on to what is inside
                part.trainable = id(part) in live or not part.weights
        self._rest(self._body, live)

    def run(self, inputs: Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        wanted = tuple(stages)
        if inputs.after or not set(wanted) & self._outputs.keys():
            return super().run(inputs, stages)
        model = self._model(tuple(name for name in wanted if name != "head"))
        found = self.call(partial(self._all, model, wanted), (None, wanted), inputs)
        return {name: array[: len(inputs)] for name, array in zip(wanted, found, strict=True)}

    def _model(self, wanted: tuple[str, ...]) -> keras.Model:
        """The network from its input to these stages before the head."""
        for name in wanted:
            if isinstance(self._outputs.get(name), list | tuple | dict):
                raise UsageError(
                    f"block {name!r} of {self.name} gives several tensors, not one of numbers: name another block"
                )
        if wanted not in self._models:
            ends = {"input": self._input, "features": self._ends["features"], **self._outputs}
            self._models[wanted] = keras.Model(self._input, {name: ends[name] for name in wanted})
        return self._models[wanted]

    def _all(self, model: keras.Model, wanted: tuple[str, ...], pixels: Any, columns: Any = None) -> list[Any]:
        found = dict(model(self.normalise(pixels), training=False))
        if "head" in wanted:
            (found["head"],) = self._until(None, ("head",), pixels, columns)
        return [ops.cast(found[name], self.dtype) for name in wanted]

    def _has_trainable(self, stage: str) -> bool:
        return any((self.card.block_of(name) == "head") == (stage == "head") for name in self.trainable)

    def _rest(self, model: keras.Model, live: set[int]) -> None:
        """What is frozen is in inference mode; `training` is passed on to all layers of a model alike."""
        for layer in model.layers:
            parts = _parts(layer)
            trained = any(id(part) in live for part in parts)
            if isinstance(layer, keras.Model) and trained:
                _in_inference(layer, resting=False)
                self._rest(layer, live)
                continue
            resting = bool(layer.weights) and not trained
            _in_inference(layer, resting=resting)
            for part in parts:  # to which a layer may not pass `training` on
                if id(part) in self._rates:
                    part.rate = 0.0 if resting else self._rates[id(part)]


def _in_inference(layer: Any, *, resting: bool) -> None:
    """Have a layer called with `training=False`, whatever its model is called with; or as it is."""
    vars(layer).pop("call", None)
    if resting and "training" in inspect.signature(layer.call).parameters:
        vars(layer)["call"] = partial(_call_resting, layer.call)


def _call_resting(call: Any, *inputs: Any, training: Any = None, **options: Any) -> Any:
    return call(*inputs, training=False, **options)


def describe(native: Any, head: str, image_size: int | None) -> Description:
    """What `xfer.wrap` needs to know of a model."""
    if not isinstance(native, keras.Model):
        raise UsageError(f"a {type(native).__name__} is no keras.Model: give the network itself")
    kind = type(native).__name__
    if len(getattr(native, "inputs", None) or []) != 1 or len(getattr(native, "outputs", None) or []) != 1:
        raise UsageError(f"{kind} is not functional with one input and one output: build keras.Model(input, output)")
    shape, names = tuple(native.inputs[0].shape), [layer.name for layer in native.layers]
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] not in (3, None):
        size = image_size or "S"
        raise UsageError(f"{kind} takes no images (N, {size}, {size}, 3): its input is {shape}")
    if head not in names:
        raise UsageError(f"{kind} has no layer {head!r} for a head: its last layers are {', '.join(names[-5:])}")
    last = native.get_layer(head)
    if not isinstance(last, layers.Dense):
        raise UsageError(f"head {head!r} is a {type(last).__name__}: name the Dense layer that gives the logits")
    if len(last._inbound_nodes) != 1 or len(last.input.shape) != 2:
        raise UsageError(f"the head of {kind} is used more than once, or reads no features (N, D)")
    named = names_of(native)
    blocks = [(named[id(layer)], _prefixes(layer, named)) for layer in _with_weights(native, last)]
    return Description(
        name=re.sub(r"_\d+$", "", native.name),  # Keras numbers what it names by itself
        blocks=dict(zip(block_names([name for name, _ in blocks]), [prefixes for _, prefixes in blocks], strict=True)),
        head=named[id(last)],
        feature_dim=last.kernel.shape[0],
        classes=last.units,
        parameters=native.count_params(),
        precision="fp64" if last.compute_dtype == "float64" else "fp32",
        ends_with_head=_ends_with(native, last),
        image_size=shape[1],
    )


def _ends_with(native: keras.Model, head: layers.Dense) -> bool:
    """Whether the output is that of the head, or its softmax."""
    end, activations = native.outputs[0], [head.activation]
    while end is not head.output:
        layer = end._keras_history.operation
        if not isinstance(layer, layers.Activation | layers.Softmax) or not isinstance(layer.input, type(end)):
            return False
        activations.append(layer.activation if isinstance(layer, layers.Activation) else keras.activations.softmax)
        end = layer.input
    known = (keras.activations.softmax, keras.activations.log_softmax)
    beyond = [each for each in activations if each is not keras.activations.linear]
    return not beyond or (len(beyond) == 1 and beyond[0] in known)


def names_of(native: keras.Model) -> dict[int, str]:
    """A name for each layer, by its id, the same whenever the network is built.

    Keras numbers the layers that it names by itself over the whole life of a process (`conv2d_17`): here they are
    counted in the network. A name that is there twice, in nested models, gets those of its models before it.
    """
    numbers, own = Counter[str](), dict[int, str]()
    paths: dict[int, tuple[int, ...]] = {}

    def visit(model: keras.Model, above: tuple[int, ...]) -> None:
        for layer in model.layers:
            if id(layer) in own:
                continue
            own[id(layer)] = _counted(layer, numbers)
            paths[id(layer)] = (*above, id(layer))
            if isinstance(layer, keras.Model):
                visit(layer, paths[id(layer)])

    visit(native, ())
    twice = {name for name, number in Counter(own.values()).items() if number > 1}
    found = {
        layer: ".".join(own[each] for each in path) if own[layer] in twice else own[layer]
        for layer, path in paths.items()
    }
    if again := [name for name, number in Counter(found.values()).items() if number > 1]:
        raise UsageError(f"{native.name} has two layers called {again[0]!r}: give each a name of its own")
    return found


def _counted(layer: Any, numbers: Counter[str]) -> str:
    """The name of a layer; of those that Keras has numbered, how many there were before it."""
    automatic = _snake_case(type(layer).__name__)
    if not re.fullmatch(rf"{automatic}(_\d+)?", layer.name):
        return str(layer.name)
    number = numbers[automatic]
    numbers[automatic] += 1
    return f"{automatic}_{number}" if number else automatic


def _snake_case(name: str) -> str:
    """As Keras names layers after their classes."""
    words = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def _with_weights(native: keras.Model, head: Any) -> list[Any]:
    return [layer for layer in native.layers if layer.weights and layer is not head]


def _prefixes(layer: Any, named: dict[int, str]) -> tuple[str, ...]:
    if isinstance(layer, keras.Model):
        return tuple(named[id(inner)] for inner in _leaves(layer) if inner.weights)
    return (named[id(layer)],)


def _leaves(model: Any) -> Iterator[Any]:
    """All layers, those of nested models one by one."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        elif not isinstance(layer, layers.InputLayer):
            yield layer


def _parts(layer: Any) -> list[Any]:
    """A layer and all layers inside it, each after the one that it is in."""
    return list(layer._flatten_layers())


def _drops(layer: Any) -> bool:
    return isinstance(getattr(layer, "rate", None), float) and layer.rate > 0


def _all_tensors(body: keras.Model, named: dict[int, str]) -> dict[str, Tensor]:
    """Tensors of the usual layers under torch's names and layouts, those of others as they are, by their path."""
    found: dict[str, Tensor] = {}
    for layer in dict.fromkeys(_leaves(body)):
        here = _standard(layer) if isinstance(layer, _STANDARD) else _of_parts(layer)
        for name, tensor in here.items():
            full = f"{named[id(layer)]}.{name}"
            if full in found:
                raise UsageError(f"{body.name} has two tensors called {full!r}: give its layers names of their own")
            found[full] = tensor
    return found


def _standard(layer: Any) -> dict[str, Tensor]:
    return {name.removeprefix(f"{layer.name}."): tensor for name, tensor in tensors([layer]).items()}


def _of_parts(layer: Any) -> dict[str, Tensor]:
    """The variables of a layer with layers in it, each with the innermost that has it, by their path."""
    owners, paths, numbers = dict[int, Any](), {id(layer): ""}, Counter[str]()
    for part in _parts(layer):
        if id(part) not in paths:
            paths[id(part)] = _counted(part, numbers)
        owners |= {id(variable): part for variable in part.weights}
    found: dict[str, Tensor] = {}
    for variable in layer.weights:
        owner = owners[id(variable)]
        role = _STATISTICS.get(variable.name, variable.name)
        name = ".".join(filter(None, (paths[id(owner)], role)))
        if name in found:
            name = next(other for i in count(1) if (other := f"{name}_{i}") not in found)
        found[name] = Tensor(owner, variable, None)
    return found
