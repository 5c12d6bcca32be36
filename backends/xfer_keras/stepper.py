"""Stepper on TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, SupportsFloat

import numpy as np
import tensorflow as tf

from xfer.model import STATISTICS
from xfer.numerics import LossSpec, OptimizerSpec
from xfer.stepper import Stepper
from xfer_keras.loss import cross_entropy
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
        batch = [self.model.pixels, tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int64)]
        rates = tf.TensorSpec([len(self.model.blocks)], tf.float64)
        # Partials: TensorFlow takes new traces of one Python function for a mistake, and warns.
        self._backward = tf.function(partial(self._loss_and_gradients), input_signature=batch)
        self._train = tf.function(partial(self._update), input_signature=[*batch, rates])

    def train_step(
        self, images: np.ndarray, labels: np.ndarray, rates: Mapping[str, float], seed: int
    ) -> SupportsFloat:
        with tf.device(self.model.device):
            return self._train(images, labels, seed, [rates[block] for block in self.model.blocks])

    def compute_gradients(self, images: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        statistics = self.model.read(name for name in self.model.shapes() if name.endswith(STATISTICS))
        with tf.device(self.model.device):
            _, gradients = self._backward(images, labels, seed)
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

    def _loss_and_gradients(self, images: Any, labels: Any, seed: Any) -> tuple[Any, list[Any]]:
        for i, state in enumerate(self.model.seeds()):
            state.assign(tf.cast(tf.stack([seed, tf.cast(i, seed.dtype)]), state.dtype))
        weights = [tensor.variable.value for tensor in self._optimizer.tensors.values()]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            outputs = self.model.forward(images)
            loss = tf.add_n([weight * cross_entropy(self.loss, logits, labels) for weight, logits in outputs])
        gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _update(self, images: Any, labels: Any, seed: Any, rates: Any) -> Any:
        loss, gradients = self._loss_and_gradients(images, labels, seed)
        self._optimizer.update(gradients, rates, self.clip_norm)
        return loss
