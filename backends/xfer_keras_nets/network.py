"""BaseModel on Keras, for any engine of it: the network, its stages, tensors and freeze plan."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.layers import Concatenate, Dense, Dropout, GlobalAveragePooling1D

from xfer.models.base_model import BaseModel
from xfer.models.drop_rates import Kind
from xfer.models.engine import Engine
from xfer.models.spec import ModelSpec
from xfer.specs.inputs import Inputs
from xfer_keras_nets import lora, numerics
from xfer_keras_nets.families import FAMILIES
from xfer_keras_nets.head import build_heads
from xfer_keras_nets.layers import padded_as, relu
from xfer_keras_nets.layout import Tensor, forward_order, tensors


class KerasNetwork(BaseModel):
    """A flat functional Keras model, run stage by stage. An engine places, compiles and differentiates it.

    Attributes:
        dtype: of weights and results, "float32" or "float64".
    """

    def __init__(self, backend: Engine, spec: ModelSpec) -> None:
        super().__init__(backend, spec)
        self.dtype = "float64" if spec.precision == "fp64" else "float32"
        with self.placed(), self.policy():
            # Variables: a compiler would turn a division by a constant into a product, which rounds otherwise.
            self._white, self._mean, self._std = self._constants = [
                keras.Variable(np.asarray(numbers), dtype=self.dtype, trainable=False)
                for numbers in (255.0, spec.preprocessing.mean, spec.preprocessing.std)
            ]
        self.build()
        if spec.precision == "bf16":
            self.apply_precision()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled by what it was made from: Keras copies a layer and its variables apart from each other."""
        state = {name: getattr(self, name) for name in ("columns", "decision", "estimator", "undecided", "original")}
        return self.restored, (self.made_from(), self.spec, self.weights(), self.trainable, state)

    @classmethod
    def restored(
        cls,
        made_from: tuple[Any, ...],
        spec: ModelSpec,
        weights: Mapping[str, np.ndarray],
        trainable: frozenset[str],
        state: Mapping[str, Any],
    ) -> KerasNetwork:
        """The model that was pickled; its class says which engine Keras is imported on."""
        model = cls(*made_from)
        if model.spec != spec:
            model.spec = spec
            model.build_head()
        model.write(weights)
        vars(model).update(state)
        model.freezer.restore(trainable)
        return model

    def made_from(self) -> tuple[Any, ...]:
        """The arguments of its class, of which the head may have been replaced since."""
        return self.backend, self.spec

    def build(self) -> None:
        """Make the network and its stages, with undefined weights."""
        size = self.spec.preprocessing.size
        with self.placed(), self.policy(), padded_as(self.spec.numerics.padding):
            self._input = keras.Input((size, size, 3), dtype=self.dtype, name="image")
            self._ends = dict(FAMILIES[self.card.family](self._input, self.card))
        self._drops: dict[str, tuple[Any, float]] = {}  # and the rates that the layers were built with
        self.build_head()
        if self.spec.lora is not None:
            self.build_lora()

    def build_head(self) -> None:
        classes, branches = len(self.classes), {branch.name: branch for branch in self.card.auxiliary}
        with self.placed(), self.policy():
            read, beside = self.head_input()
            logits = build_heads(self.spec, read)
            if self.card.head_per_place:
                logits = GlobalAveragePooling1D(name="mean_place")(relu(logits, "relu"))
            last = {name: Dense(classes, name=b.head)(self._ends[name]) for name, b in branches.items()}
        self.native = keras.Model([self._input, *beside] if beside else self._input, logits, name=self.name)
        self.stages: dict[str, keras.Model] = {}
        self._branches: dict[str, tuple[float, keras.Model]] = {}
        self._layers: dict[str, list[Any]] = {}
        start = self._input
        for stage, end in {**self._ends, "head": logits}.items():
            if stage in branches:
                after, weight = branches[stage].after, branches[stage].weight
                self._branches[after] = (weight, keras.Model(start, last[stage], name=stage))
                self._layers[stage] = forward_order(last[stage], start)
                continue
            start = read if stage == "head" else start
            self.stages[stage] = keras.Model(start, end, name=stage)
            self._layers[stage] = forward_order(end, start)
            start = end
        numerics.apply((layer for found in self._layers.values() for layer in found), self.spec.numerics)
        for layer in (layer for stage, found in self._layers.items() if stage != "head" for layer in found):
            if isinstance(layer, Dropout):
                self._drops.setdefault(layer.name, (layer, layer.rate))
        self.apply_drop_rates()
        self._list_tensors()

    def build_lora(self) -> None:
        with self.placed(), self.policy():
            lora.detach(layer for found in self._layers.values() for layer in found)
            if self.spec.lora is not None:
                weights = [self._tensors[name] for name in self.spec.lora.weights]
                lora.attach([(weight.layer, weight.shape) for weight in weights], self.spec.lora)
        self._list_tensors()

    def _list_tensors(self) -> None:
        self._tensors = tensors(layer for found in self._layers.values() for layer in found)
        self._compiled: dict[Any, Any] = {}

    def apply_drop_rates(self) -> None:
        for layer, built in self._drops.values():
            kind: Kind = "stochastic_depth" if layer.name.endswith(".stochastic_depth") else "dropout"
            layer.rate = self.drop_rates.of_layer(self.card, kind, built, self.spec.dropout)

    def head_input(self) -> tuple[Any, list[Any]]:
        """What the head reads, and the input of the columns if there are any."""
        if not self.spec.columns:
            return self._ends["features"], []
        columns = keras.Input((self.spec.columns,), dtype=self.dtype, name="columns")
        return Concatenate(name="joined")([self._ends["features"], columns]), [columns]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self._tensors.items()}

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        return {name: self._tensors[name].from_keras(self._tensors[name].variable.numpy()) for name in names}

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            self._tensors[name].variable.assign(self._tensors[name].to_keras(array))

    def apply_trainable(self) -> None:
        live = {id(self._tensors[name].layer) for name in self.trainable}
        for layers in self._layers.values():
            for layer in layers:
                layer.trainable = id(layer) in live or not layer.weights

    def apply_precision(self) -> None:
        policy = keras.DTypePolicy("mixed_bfloat16" if self.spec.precision == "bf16" else self.dtype)
        for stage, layers in self._layers.items():
            for layer in layers if stage != "head" else ():
                for part in layer._flatten_layers():
                    part.dtype_policy = policy
        self._compiled = {}

    def run(self, inputs: Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        wanted = tuple(stage for stage in ("input", *self.stages) if stage in stages)
        found = self.call(partial(self._until, inputs.after, wanted), (inputs.after, wanted), inputs)
        return {name: array[: len(inputs)] for name, array in zip(wanted, found, strict=True)}

    def run_gradient(self, inputs: Inputs, block: str, at_logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights = np.asarray(at_logits, self.dtype)
        function = partial(self._gradient, inputs.after, block)
        activations, gradient = self.call(function, ("gradient", inputs.after, block), inputs, weights)
        return activations, gradient

    @abstractmethod
    def placed(self) -> AbstractContextManager[object]:
        """What is made or computed in it lies on the model's device, in the model's precision."""

    @abstractmethod
    def call(self, function: Any, key: Any, inputs: Inputs, *first: np.ndarray) -> list[np.ndarray]:
        """What `function`, compiled once for each key, makes of a batch; a blank sample stands in for an empty one.

        Args:
            function: of tensors. key: what it depends on. inputs: the batch.
            first: arrays (N, ...) that it is given before the batch, N at least 1.
        """

    @abstractmethod
    def _gradient(self, after: str | None, block: str, at_logits: Any, values: Any, columns: Any = None) -> list[Any]:
        """See `activation_gradient`, of tensors."""

    def arrays(self, inputs: Inputs) -> list[np.ndarray]:
        """What crosses the border: images or outputs of a block, and the columns if there are any."""
        kind = self.dtype
        values = inputs.values if inputs.after is None else np.asarray(inputs.values, kind)
        return [values] if inputs.columns is None else [values, np.asarray(inputs.columns, kind)]

    def steps(self, after: str | None) -> dict[str, keras.Model]:
        """The stages that run on outputs of `after`, or on images, by name."""
        return {name: self.stages[name] for name in self.stages_after(after)}

    def forward(self, inputs: Inputs) -> list[tuple[float, Any]]:
        """Logits (N, K) on the device as training sees them, each with the weight of its loss, the head's last.

        Traced into the step: the inputs are tensors.
        """
        x: Any = self.enter(inputs)
        outputs: list[tuple[float, Any]] = []
        for name, stage in self.steps(inputs.after).items():
            x = stage(joined(x, inputs.columns) if name == "head" else x, training=self._has_trainable(name))
            weight, branch = self._branches.get(name, (0.0, None))
            if branch is not None and self._has_trainable(branch.name):
                outputs.append((weight, ops.cast(branch(x, training=True), self.dtype)))
        return [*outputs, (1.0, ops.cast(x, self.dtype))]

    def tensors(self) -> dict[str, Tensor]:
        """The native parameters and statistics by canonical name, in forward order."""
        return self._tensors

    def seeds(self) -> list[Any]:
        """The states of the random generators inside the network, in forward order."""
        layers = (layer for found in self._layers.values() for layer in found)
        return [v for layer in layers for v in layer.variables if v.path.endswith("seed_generator_state")]

    def normalise(self, images: Any) -> Any:
        """uint8 (N, S, S, 3) to normalised (N, S, S, 3) on the device."""
        return (ops.cast(images, self.dtype) / self._white.value - self._mean.value) / self._std.value

    def enter(self, inputs: Inputs) -> Any:
        """What the first stage reads, of tensors."""
        return self.normalise(inputs.values) if inputs.after is None else inputs.values

    def _until(self, after: str | None, wanted: tuple[str, ...], values: Any, columns: Any = None) -> list[Any]:
        x = self.enter(Inputs(values, after))
        found = [x] if "input" in wanted else []
        for name, stage in self.steps(after).items():
            if len(found) == len(wanted):
                break
            x = stage(joined(x, columns) if name == "head" else x, training=False)
            if name in wanted:
                found.append(ops.cast(x, self.dtype))
        return found

    def _has_trainable(self, stage: str) -> bool:
        layers = {id(layer) for layer in self._layers[stage]}
        return any(id(self._tensors[name].layer) in layers for name in self.trainable)

    @contextmanager
    def policy(self) -> Iterator[None]:
        """Build layers in the precision of this model's weights and with channels last, whatever the user has set."""
        before, layout = keras.config.dtype_policy(), keras.config.image_data_format()
        keras.config.set_dtype_policy(self.dtype)
        keras.config.set_image_data_format("channels_last")
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)
            keras.config.set_image_data_format(layout)


def joined(features: Any, columns: Any) -> Any:
    """What the head reads: features (N, D), with columns (N, C) behind them if there are any."""
    return features if columns is None else ops.concatenate([features, ops.cast(columns, features.dtype)], axis=1)
