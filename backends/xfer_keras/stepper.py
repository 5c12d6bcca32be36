"""Stepper on TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, SupportsFloat

import numpy as np
import tensorflow as tf

from xfer.inputs import Inputs
from xfer.model import STATISTICS
from xfer.numerics import LossSpec, OptimizerSpec
from xfer.stepper import Stepper
from xfer_keras.loss import loss_of
from xfer_keras.model import KerasModel
from xfer_keras.optimizer import Optimizer


class KerasStepper(Stepper):
    """A gradient tape and torch's update rules for the tensors that are trainable at the moment."""

    model: KerasModel

    def __init__(
        self, model: KerasModel, optimizer: OptimizerSpec, loss: LossSpec, clip_norm: float | None = None
    ) -> None:
        super().__init__(model, optimizer, loss, clip_norm)
        self._rule: Optimizer | None = None

    def rebuild(self) -> None:
        kept = self._rule.state() if self._rule else {}
        tensors = self.model.tensors()
        blocks = {block: {name: tensors[name] for name in names} for block, names in self.trainable_by_block().items()}
        with tf.device(self.model.device):
            self._rule = Optimizer(self.optimizer, blocks, self.model.blocks)
        if kept:
            self._rule.load_state(kept)
        self._compiled: dict[Any, Any] = {}

    def train_step(self, inputs: Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int) -> SupportsFloat:
        by_block = [rates[block] for block in self.model.blocks]
        loss: SupportsFloat = self._call(self._update, inputs, labels, seed, by_block)
        return loss

    def compute_gradients(self, inputs: Inputs, labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        statistics = self.model.read(name for name in self.model.shapes() if name.endswith(STATISTICS))
        _, gradients = self._call(self._loss_and_gradients, inputs, labels, seed)
        self.model.write(statistics)
        return {
            name: tensor.from_keras(gradient.numpy())
            for (name, tensor), gradient in zip(self._optimizer.tensors.items(), gradients, strict=True)
        }

    def read_state(self) -> dict[str, np.ndarray]:
        return self._optimizer.state()

    def write_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._optimizer.load_state(state)

    @property
    def _optimizer(self) -> Optimizer:
        assert self._rule is not None, "rebuild() comes first"
        return self._rule

    def _call(self, function: Any, inputs: Inputs, labels: np.ndarray, seed: int, *rates: Sequence[float]) -> Any:
        """Run a function, compiled once for each kind of inputs and labels."""
        kind = (function.__name__, self.model.spec.precision, inputs.after, labels.ndim)
        if kind not in self._compiled:
            signature = [
                tf.TensorSpec([None, *labels.shape[1:]], tf.int64 if labels.ndim == 1 else tf.float64),
                tf.TensorSpec([], tf.int64),
                *(tf.TensorSpec([len(each)], tf.float64) for each in rates),
                *self.model.signature(inputs),
            ]
            # Partials: TensorFlow takes new traces of one Python function for a mistake, and warns.
            self._compiled[kind] = tf.function(partial(function, inputs.after), input_signature=signature)
        with tf.device(self.model.device):
            return self._compiled[kind](labels, seed, *rates, *self.model.arrays(inputs))

    def _loss_and_gradients(
        self, after: str | None, labels: Any, seed: Any, values: Any, columns: Any = None
    ) -> tuple[Any, list[Any]]:
        for i, state in enumerate(self.model.seeds()):
            state.assign(tf.cast(tf.stack([seed, tf.cast(i, seed.dtype)]), state.dtype))
        weights = [tensor.variable.value for tensor in self._optimizer.tensors.values()]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            outputs = self.model.forward(Inputs(values, after, columns))
            loss = tf.add_n([weight * loss_of(self.loss, logits, labels) for weight, logits in outputs])
        gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _update(self, after: str | None, labels: Any, seed: Any, rates: Any, *inputs: Any) -> Any:
        loss, gradients = self._loss_and_gradients(after, labels, seed, *inputs)
        self._optimizer.update(gradients, rates, self.clip_norm)
        return loss
