"""Stepper on TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from xfer.models.stepper import Stepper
from xfer.runtime.distributed import launch_environment
from xfer.runtime.progress import say, step
from xfer.specs.inputs import Inputs
from xfer.specs.update import UpdateSpec
from xfer_keras.distributed import KerasDistributedContext, joined, others
from xfer_keras.loss import loss_of
from xfer_keras.model import TRACING, KerasModel
from xfer_keras.optimizer import Optimizer
from xfer_keras_nets.layout import Tensor
from xfer_keras_nets.shares import Shares, shared

_STRIDE = 0x85EBCA6B  # between the seeds of processes


class KerasStepper(Stepper):
    """GradientTape and torch's update rules, compiled by tf.function for the tensors that are trainable."""

    model: KerasModel
    optimizer: Optimizer

    def __init__(self, model: KerasModel, update: UpdateSpec) -> None:
        super().__init__(model, update)
        if model.spec.compile and launch_environment().size > 1:
            model.compiled["training"] = False
            say("training is not compiled: XLA has no collectives between processes")
        self._compiled: dict[Any, Any] = {}

    def rebuild(self, blocks: Mapping[str, Sequence[str]], start: Mapping[str, np.ndarray]) -> None:
        tensors = self.model.tensors()
        by_block = {block: {name: tensors[name] for name in names} for block, names in blocks.items()}
        with tf.device(self.model.device):
            self.optimizer = Optimizer(self.update, by_block, self.model.blocks, start)
        self._compiled = {}

    def train_step(self, inputs: Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int) -> float:
        return float(self._call(self._update, inputs, labels, seed, self._by_block(rates)))

    def compute_gradients(self, inputs: Inputs, labels: np.ndarray, seed: int) -> list[Any]:
        return list(self._call(self._loss_and_gradients, inputs, labels, seed)[1])

    def forward(self, inputs: Inputs, seed: int) -> list[Any]:
        return list(self._run(self._logits, inputs, seed))

    def loss_gradients(self, outputs: Sequence[Sequence[Any]], labels: np.ndarray) -> tuple[Any, list[list[Any]]]:
        with tf.device(self.model.device), tf.GradientTape() as tape:
            logits = [tf.concat(parts, 0) for parts in zip(*outputs, strict=True)]
            tape.watch(logits)
            loss = self._loss(list(zip(self._shares, logits, strict=True)), tf.constant(labels))
        gradients = tape.gradient(loss, logits)
        sizes = [len(each[0]) for each in outputs]
        return loss, [list(parts) for parts in zip(*(tf.split(g, sizes) for g in gradients), strict=True)]

    def backward(self, inputs: Inputs, seed: int, at_outputs: Sequence[Any], total: list[Any] | None) -> list[Any]:
        gradients = self._run(self._gradients_from, inputs, seed, list(at_outputs))
        if total is None:
            return list(gradients)
        return [None if a is None or b is None else a + b for a, b in zip(total, gradients, strict=True)]

    def apply_gradients(
        self, loss: Any, gradients: list[Any], rates: Mapping[str, float], statistics: Mapping[str, Any]
    ) -> float:
        with tf.device(self.model.device):
            by_block = tf.constant(self._by_block(rates), tf.float64)
            buffers, undo = [tensor.variable.value for tensor in self._followed()], partial(self.restore, statistics)
            return float(self.optimizer.update(loss, gradients, by_block, buffers, undo))

    def read_gradients(self, gradients: list[Any]) -> dict[str, np.ndarray]:
        tensors = self.optimizer.tensors.items()
        return {
            name: np.zeros(tensor.shape, self.model.dtype) if gradient is None else tensor.from_keras(gradient.numpy())
            for (name, tensor), gradient in zip(tensors, gradients, strict=True)
        }

    def _by_block(self, rates: Mapping[str, float]) -> list[float]:
        return [rates[block] for block in self.model.blocks]

    def _run(self, function: Any, micro_batch: Inputs, seed: int, *more: Any) -> Any:
        """Run a function on a micro_batch, compiled once for each kind of it."""
        kind = (function.__name__, self.model.spec.precision, micro_batch.after)
        new = kind not in self._compiled
        if new:
            self._compiled[kind] = tf.function(
                partial(function, micro_batch.after), reduce_retracing=True, autograph=False
            )
        with tf.device(self.model.device), step(TRACING, when=new):
            return self._compiled[kind](tf.constant(seed, tf.int64), *more, *self.model.values(micro_batch))

    def _call(self, function: Any, inputs: Inputs, labels: np.ndarray, seed: int, *rates: Sequence[float]) -> Any:
        """Run a function, compiled once for each kind of inputs and labels."""
        fast = self.model.compiled.get("training", False)
        kind = (function.__name__, self.model.spec.precision, inputs.after, labels.ndim, fast, len(inputs.shards))
        new = kind not in self._compiled
        if inputs.shards:
            seed = (seed + launch_environment().rank * _STRIDE) % 2**32
            if new:
                context = joined()
                assert isinstance(context, KerasDistributedContext)
                self._collectives = context.collectives(self.model.device)
        if new:
            signature = [
                tf.TensorSpec([None, *labels.shape[1:]], tf.int64 if labels.ndim == 1 else tf.float64),
                tf.TensorSpec([], tf.int64),
                tf.TensorSpec([len(inputs.shards)], tf.int32),
                *(tf.TensorSpec([len(each)], tf.float64) for each in rates),
                *self.model.signature(inputs),
            ]
            # Partials: TensorFlow takes new traces of one Python function for a mistake, and warns.
            self._compiled[kind] = tf.function(
                partial(function, inputs.after), input_signature=signature, autograph=False, jit_compile=fast or None
            )
        with tf.device(self.model.device), step(TRACING, when=new), others():
            given = [tf.constant(labels, tf.int64 if labels.ndim == 1 else tf.float64), tf.constant(seed, tf.int64)]
            given += [tf.constant(inputs.shards, tf.int32, [len(inputs.shards)])]
            given += [tf.constant(each, tf.float64) for each in rates]
            return self._compiled[kind](*given, *self.model.values(inputs.padded()))

    def _loss_and_gradients(
        self, after: str | None, labels: Any, seed: Any, shards: Any, values: Any, columns: Any = None
    ) -> tuple[Any, list[Any]]:
        if shards.shape[0]:
            return self._together(labels, seed, shards, Inputs(values, after, columns))
        weights = self._weights()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = self._loss(self._forward(Inputs(values, after, columns), seed), labels)
        return loss, _gradients(tape, loss, weights)

    def _together(self, labels: Any, seed: Any, shards: Any, inputs: Inputs) -> tuple[Any, list[Any]]:
        """The loss of the whole batch, in every process, and its gradients, summed over the processes."""
        collectives, weights = self._collectives, self._weights()
        with (
            tf.GradientTape(watch_accessed_variables=False) as tape,
            shared(Shares(shards, collectives.rank, collectives.every)),
        ):
            tape.watch(weights)
            outputs = self._forward(inputs, seed)
            loss = self._loss([(weight, collectives.rows(logits, shards)) for weight, logits in outputs], labels)
        return loss, collectives.sums(_gradients(tape, loss, weights))

    def _logits(self, after: str | None, seed: Any, values: Any, columns: Any = None) -> list[Any]:
        outputs = self._forward(Inputs(values, after, columns), seed)
        self._shares = [share for share, _ in outputs]
        return [logits for _, logits in outputs]

    def _gradients_from(
        self, after: str | None, seed: Any, to_logits: Any, values: Any, columns: Any = None
    ) -> list[Any]:
        weights = self._weights()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            logits = self._logits(after, seed, values, columns)
        return _gradients(tape, logits, weights, to_logits)

    def _weights(self) -> list[Any]:
        return [tensor.variable.value for tensor in self.optimizer.tensors.values()]

    def _forward(self, inputs: Inputs, seed: Any) -> list[tuple[float, Any]]:
        for i, state in enumerate(self.model.seeds()):
            state.assign(tf.cast(tf.stack([seed, tf.cast(i, seed.dtype)]), state.dtype))
        return self.model.forward(inputs)

    def _loss(self, outputs: Sequence[tuple[float, Any]], labels: Any) -> Any:
        return tf.add_n([weight * loss_of(self.update.loss, logits, labels) for weight, logits in outputs])

    def _update(self, after: str | None, labels: Any, seed: Any, shards: Any, rates: Any, *inputs: Any) -> Any:
        followed = [tensor.variable.value for tensor in self._followed()]
        before = [tf.identity(variable) for variable in followed]

        def undo() -> None:
            for variable, array in zip(followed, before, strict=True):
                variable.assign(array)

        loss, gradients = self._loss_and_gradients(after, labels, seed, shards, *inputs)
        return self.optimizer.update(loss, gradients, rates, followed, undo)

    def _followed(self) -> list[Tensor]:
        """The statistics of normalisation, and other buffers, that a training pass may change."""
        tensors = self.model.tensors()
        return [tensors[name] for name in self.model.buffers() if tensors[name].layer.trainable]


def _gradients(tape: Any, ends: Any, weights: Sequence[Any], to_ends: Any = None) -> list[Any]:
    """Dense gradients in the shapes of the weights, which a traced one may not know; None where nothing connects."""
    found = zip(tape.gradient(ends, weights, to_ends), weights, strict=True)
    return [
        None if gradient is None else tf.ensure_shape(tf.convert_to_tensor(gradient), weight.shape)
        for gradient, weight in found
    ]
