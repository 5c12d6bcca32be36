"""BaseModel on Keras."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.layers import Dense, Dropout, GlobalAveragePooling1D

from xfer.backend import Backend, ModelSpec
from xfer.model import BaseModel, check_images
from xfer_keras.families import FAMILIES
from xfer_keras.head import build_head
from xfer_keras.layers import relu
from xfer_keras.layout import Tensor, forward_order, tensors

_POLICIES = {"fp32": "float32", "fp64": "float64", "bf16": "mixed_bfloat16"}


class KerasModel(BaseModel):
    """A flat functional Keras model, run stage by stage."""

    def __init__(self, backend: Backend, spec: ModelSpec) -> None:
        super().__init__(backend, spec)
        self.device = spec.device.replace("cuda", "GPU").replace("cpu", "CPU:0")
        self.dtype = tf.float64 if spec.precision == "fp64" else tf.float32
        with tf.device(self.device), self._policy():
            # Variables: TensorFlow would turn a division by a constant into a product, which rounds otherwise.
            self._white, self._mean, self._std = (
                tf.Variable(numbers, trainable=False, dtype=self.dtype)
                for numbers in (255.0, spec.preprocessing.mean, spec.preprocessing.std)
            )
        self.build()

    def build(self) -> None:
        """Make the network and its stages, with undefined weights."""
        size = self.spec.preprocessing.size
        with tf.device(self.device), self._policy():
            self._input = keras.Input((size, size, 3), dtype=self.dtype.name, name="image")
            self._ends = dict(FAMILIES[self.card.family](self._input, self.card))
        self.build_head()

    def build_head(self) -> None:
        classes, branches = len(self.classes), {branch.name: branch for branch in self.card.auxiliary}
        with tf.device(self.device), self._policy():
            logits = build_head(self.spec.head, self._ends["features"], self.card.head, classes)
            if self.card.head_per_place:
                logits = GlobalAveragePooling1D(name="mean_place")(relu(logits, "relu"))
            last = {name: Dense(classes, name=b.head)(self._ends[name]) for name, b in branches.items()}
        self.native = keras.Model(self._input, logits, name=self.name)
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
            self.stages[stage] = keras.Model(start, end, name=stage)
            self._layers[stage] = forward_order(end, start)
            start = end
        for layer in (layer for found in self._layers.values() for layer in found):
            if isinstance(layer, Dropout) and not (self.spec.dropout or layer.name.startswith(self.card.head)):
                layer.rate = 0.0
        self._tensors = tensors(layer for found in self._layers.values() for layer in found)
        self._compiled: dict[tuple[str, ...], Any] = {}

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

    def outputs(self, images: np.ndarray, stages: Sequence[str]) -> dict[str, np.ndarray]:
        check_images(images, self.spec.preprocessing.size)
        wanted = tuple(stage for stage in ("input", *self.stages) if stage in stages)
        if wanted not in self._compiled:
            # A partial: TensorFlow takes new traces of one Python function for a mistake, and warns.
            self._compiled[wanted] = tf.function(partial(self._until, wanted), input_signature=[self.pixels])
        # Some of TensorFlow's kernels fail on no image at all: it gets a blank one, whose row is cut off again.
        batch = images if len(images) else np.zeros((1, *images.shape[1:]), np.uint8)
        with tf.device(self.device):
            found = dict(zip(wanted, self._compiled[wanted](tf.constant(batch)), strict=True))
        return {name: found[name].numpy()[: len(images)] for name in stages}

    def forward(self, images: Any) -> list[tuple[float, Any]]:
        """Logits (N, K) on the device as training sees them, each with the weight of its loss, the head's last.

        Traced into the step.
        """
        x = self.normalise(images)
        outputs: list[tuple[float, Any]] = []
        for name, stage in self.stages.items():
            x = stage(x, training=self._has_trainable(name))
            weight, branch = self._branches.get(name, (0.0, None))
            if branch is not None and self._has_trainable(branch.name):
                outputs.append((weight, tf.cast(branch(x, training=True), self.dtype)))
        return [*outputs, (1.0, tf.cast(x, self.dtype))]

    def tensors(self) -> dict[str, Tensor]:
        """The native parameters and statistics by canonical name, in forward order."""
        return self._tensors

    def seeds(self) -> list[Any]:
        """The states of the random generators inside the network, in forward order."""
        layers = (layer for found in self._layers.values() for layer in found)
        return [layer.seed_generator.state for layer in layers if getattr(layer, "seed_generator", None)]

    def normalise(self, images: Any) -> Any:
        """uint8 (N, S, S, 3) to normalised (N, S, S, 3) on the device."""
        return (tf.cast(images, self.dtype) / self._white - self._mean) / self._std

    @property
    def pixels(self) -> tf.TensorSpec:
        """What crosses the border: uint8 (N, S, S, 3), N free."""
        size = self.spec.preprocessing.size
        return tf.TensorSpec([None, size, size, 3], tf.uint8)

    def _until(self, wanted: tuple[str, ...], images: Any) -> list[Any]:
        x = self.normalise(images)
        found = [x] if "input" in wanted else []
        for name, stage in self.stages.items():
            if len(found) == len(wanted):
                break
            x = stage(x, training=False)
            if name in wanted:
                found.append(tf.cast(x, self.dtype))
        return found

    def _has_trainable(self, stage: str) -> bool:
        layers = {id(layer) for layer in self._layers[stage]}
        return any(id(self._tensors[name].layer) in layers for name in self.trainable)

    @contextmanager
    def _policy(self) -> Iterator[None]:
        """Build layers in this model's precision, and leave the user's global policy as it was."""
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(_POLICIES[self.spec.precision])
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)
