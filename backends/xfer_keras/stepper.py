"""Stepper on TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from xfer.models.base_model import STATISTICS
from xfer.models.stepper import Stepper
from xfer.specs.inputs import Inputs
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer_keras.layout import Tensor
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

    def train_step(self, inputs: Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int) -> float:
        by_block, micro_batches = [rates[block] for block in self.model.blocks], self.micro_batches(inputs, seed)
        if len(micro_batches) > 1:
            return self._step_in_micro_batches(micro_batches, labels, by_block)
        return float(self._call(self._update, inputs, labels, seed, by_block))

    def compute_gradients(self, inputs: Inputs, labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        statistics = self._statistics()
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

    def _statistics(self) -> dict[str, np.ndarray]:
        return self.model.read(name for name in self.model.shapes() if name.endswith(STATISTICS))

    def _step_in_micro_batches(
        self, micro_batches: Sequence[tuple[Inputs, int]], labels: np.ndarray, rates: Sequence[float]
    ) -> float:
        statistics = self._statistics()
        found = [self._run(self._logits, micro_batch, seed) for micro_batch, seed in micro_batches]
        self.model.write(statistics)
        loss, to_logits = self._to_logits(labels, [tf.concat(parts, 0) for parts in zip(*found, strict=True)])
        at, total = 0, None
        for micro_batch, seed in micro_batches:
            part = [gradient[at : at + len(micro_batch)] for gradient in to_logits]
            gradients = self._run(self._gradients_from, micro_batch, seed, part)
            total = gradients if total is None else [a + b for a, b in zip(total, gradients, strict=True)]
            at += len(micro_batch)
        with tf.device(self.model.device):
            undo = partial(self.model.write, statistics)
            return float(self._optimizer.update(loss, total, tf.constant(rates, tf.float64), self.clip_norm, undo))

    def _run(self, function: Any, micro_batch: Inputs, seed: int, *more: Any) -> Any:
        """Run a function on a micro_batch, compiled once for each kind of it."""
        kind = (function.__name__, self.model.spec.precision, micro_batch.after)
        if kind not in self._compiled:
            self._compiled[kind] = tf.function(
                partial(function, micro_batch.after), reduce_retracing=True, autograph=False
            )
        with tf.device(self.model.device):
            arrays = [tf.constant(array) for array in self.model.arrays(micro_batch)]
            return self._compiled[kind](tf.constant(seed, tf.int64), *more, *arrays)

    def _call(self, function: Any, inputs: Inputs, labels: np.ndarray, seed: int, *rates: Sequence[float]) -> Any:
        """Run a function, compiled once for each kind of inputs and labels."""
        fast = self.model.compiled.get("training", False)
        kind = (function.__name__, self.model.spec.precision, inputs.after, labels.ndim, fast)
        if kind not in self._compiled:
            signature = [
                tf.TensorSpec([None, *labels.shape[1:]], tf.int64 if labels.ndim == 1 else tf.float64),
                tf.TensorSpec([], tf.int64),
                *(tf.TensorSpec([len(each)], tf.float64) for each in rates),
                *self.model.signature(inputs),
            ]
            # Partials: TensorFlow takes new traces of one Python function for a mistake, and warns.
            self._compiled[kind] = tf.function(
                partial(function, inputs.after), input_signature=signature, autograph=False, jit_compile=fast or None
            )
        with tf.device(self.model.device):
            return self._compiled[kind](labels, seed, *rates, *self.model.arrays(inputs))

    def _loss_and_gradients(
        self, after: str | None, labels: Any, seed: Any, values: Any, columns: Any = None
    ) -> tuple[Any, list[Any]]:
        weights = self._weights()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = self._loss(self._forward(Inputs(values, after, columns), seed), labels)
        return loss, _gradients(tape, loss, weights)

    def _logits(self, after: str | None, seed: Any, values: Any, columns: Any = None) -> list[Any]:
        outputs = self._forward(Inputs(values, after, columns), seed)
        self._shares = [share for share, _ in outputs]
        return [logits for _, logits in outputs]

    def _to_logits(self, labels: np.ndarray, logits: Sequence[Any]) -> tuple[Any, list[Any]]:
        with tf.device(self.model.device), tf.GradientTape() as tape:
            tape.watch(logits)
            loss = self._loss(list(zip(self._shares, logits, strict=True)), tf.constant(labels))
        return loss, tape.gradient(loss, logits)

    def _gradients_from(
        self, after: str | None, seed: Any, to_logits: Any, values: Any, columns: Any = None
    ) -> list[Any]:
        weights = self._weights()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            logits = self._logits(after, seed, values, columns)
        return _gradients(tape, logits, weights, to_logits)

    def _weights(self) -> list[Any]:
        return [tensor.variable.value for tensor in self._optimizer.tensors.values()]

    def _forward(self, inputs: Inputs, seed: Any) -> list[tuple[float, Any]]:
        for i, state in enumerate(self.model.seeds()):
            state.assign(tf.cast(tf.stack([seed, tf.cast(i, seed.dtype)]), state.dtype))
        return self.model.forward(inputs)

    def _loss(self, outputs: Sequence[tuple[float, Any]], labels: Any) -> Any:
        return tf.add_n([weight * loss_of(self.loss, logits, labels) for weight, logits in outputs])

    def _update(self, after: str | None, labels: Any, seed: Any, rates: Any, *inputs: Any) -> Any:
        followed = [tensor.variable.value for tensor in self._followed()]
        before = [tf.identity(variable) for variable in followed]

        def undo() -> None:
            for variable, array in zip(followed, before, strict=True):
                variable.assign(array)

        loss, gradients = self._loss_and_gradients(after, labels, seed, *inputs)
        return self._optimizer.update(loss, gradients, rates, self.clip_norm, undo)

    def _followed(self) -> list[Tensor]:
        """The statistics of normalisation that a training pass changes."""
        found = self.model.tensors().items()
        return [tensor for name, tensor in found if name.endswith(STATISTICS) and tensor.layer.trainable]


def _gradients(tape: Any, ends: Any, weights: Sequence[Any], to_ends: Any = None) -> list[Any]:
    """Dense gradients; zero where nothing connects."""
    found = tape.gradient(ends, weights, to_ends, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(gradient) for gradient in found]
