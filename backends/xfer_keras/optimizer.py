"""Update rules: torch's, in TensorFlow, their state by canonical tensor name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from xfer.models.update_rule import Slots
from xfer.specs.update import UpdateSpec
from xfer_keras_nets.layout import Tensor


class Optimizer:
    """torch.optim's SGD, Adam and AdamW (torch/optim/{sgd,adam,adamw}.py) over named tensors.

    Args:
        spec: the update.
        blocks: trainable tensors by canonical name, by block.
        order: all blocks of the model, in the order of the rates.
        start: what L2-SP decays tensors towards, by canonical name, in torch's layouts.
    """

    def __init__(
        self,
        spec: UpdateSpec,
        blocks: Mapping[str, Mapping[str, Tensor]],
        order: Sequence[str],
        start: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.spec, self.clip_norm, self.l2_sp = spec.optimizer, spec.clip_norm, spec.l2_sp
        self.form, self.decoupled = spec.form, spec.decoupled
        self.tensors = {name: tensor for tensors in blocks.values() for name, tensor in tensors.items()}
        self._places = [order.index(block) for block, tensors in blocks.items() for _ in tensors]
        self._slots = {
            slot: [tf.Variable(tf.zeros_like(tensor.variable.value)) for tensor in self.tensors.values()]
            for slot in self.spec.slots
        }
        self._start = {
            i: tf.Variable(tensor.to_keras(start[name]), dtype=tensor.variable.dtype, trainable=False)
            for i, (name, tensor) in enumerate(self.tensors.items())
            if start and name in start
        }
        self._steps = tf.Variable(tf.zeros(len(self.tensors), tf.int64))

    def update(self, loss: Any, gradients: Sequence[Any], rates: Any, buffers: Sequence[Any], undo: Any) -> Any:
        """One update; traced into the step. Tensors without a gradient stay as they are.

        Args:
            loss: a scalar.
            gradients: one for each tensor, in order, None where nothing connects it with the loss.
            rates: float64, one for each block of the model.
            buffers: running statistics that the pass has changed.
            undo: called in the place of the update where the loss, the gradients' norm or a buffer is not finite.

        Returns:
            The loss; NaN where there was no update.
        """
        norm = tf.linalg.global_norm(gradients)
        finite = [tf.math.is_finite(loss), tf.math.is_finite(norm)]
        finite += [tf.reduce_all(tf.math.is_finite(buffer)) for buffer in buffers if buffer.dtype.is_floating]

        def apply() -> Any:
            factor = 1.0 if self.clip_norm is None else tf.minimum(self.clip_norm / (norm + 1e-6), 1.0)
            whole = self.clip_norm is None
            self._apply([g if whole or g is None else g * factor for g in gradients], rates)
            return loss

        def leave() -> Any:
            undo()
            return loss * float("nan")

        return tf.cond(tf.reduce_all(tf.stack(finite)), apply, leave)

    def _apply(self, gradients: Sequence[Any], rates: Any) -> None:
        self._steps.assign_add(tf.constant([int(g is not None) for g in gradients], self._steps.dtype))
        rule = self._sgd if self.spec.name == "sgd" else self._adam
        before: list[Any] = []
        for i, (tensor, gradient) in reversed(list(enumerate(zip(self.tensors.values(), gradients, strict=True)))):
            if gradient is None:
                continue
            # One after the other: at once, what each needs would add up.
            with tf.control_dependencies(before):
                before = [rule(i, tensor.variable.value, gradient, rates[self._places[i]])]

    def _sgd(self, i: int, weight: Any, gradient: Any, rate: Any) -> Any:
        spec, size = self.spec, tf.cast(rate, weight.dtype)
        gradient = self._decayed(i, weight, gradient, rate)
        if not spec.momentum:
            return weight.assign_sub(size * gradient)
        momentum = self._slots["momentum_buffer"][i]
        if self.form == "keras":
            momentum.assign(spec.momentum * momentum - size * gradient)
            return weight.assign_add(spec.momentum * momentum - size * gradient if spec.nesterov else momentum)
        momentum.assign(spec.momentum * momentum + gradient)
        gradient = gradient + spec.momentum * momentum if spec.nesterov else momentum
        return weight.assign_sub(size * gradient)

    def _adam(self, i: int, weight: Any, gradient: Any, rate: Any) -> Any:
        spec, (beta1, beta2), dtype = self.spec, self.spec.betas, weight.dtype
        gradient = self._decayed(i, weight, gradient, rate)
        mean, square = self._slots["exp_avg"][i], self._slots["exp_avg_sq"][i]
        mean.assign(mean + (gradient - mean) * (1 - beta1))
        square.assign(beta2 * square + (1 - beta2) * gradient * gradient)
        step = tf.cast(self._steps[i], tf.float64)
        size = tf.cast(rate / (1 - tf.pow(tf.constant(beta1, tf.float64), step)), dtype)
        correction = tf.cast(tf.sqrt(1 - tf.pow(tf.constant(beta2, tf.float64), step)), dtype)
        if self.form == "keras":
            return weight.assign_sub(size * correction * mean / (tf.sqrt(square) + spec.eps))
        return weight.assign_sub(size * mean / (tf.sqrt(square) / correction + spec.eps))

    def _decayed(self, i: int, weight: Any, gradient: Any, rate: Any) -> Any:
        """The gradient with the decay in it; or the gradient as it is, and the weight has decayed by itself."""
        decay, dtype = self._decay(i), weight.dtype
        if decay and not self.decoupled:
            return gradient + decay * self._away(i, weight)
        if decay and i in self._start:
            weight.assign_sub(tf.cast(rate * decay, dtype) * self._away(i, weight))
        elif decay:
            weight.assign(weight * tf.cast(1 - rate * decay, dtype))
        return gradient

    def _decay(self, i: int) -> float:
        return self.l2_sp if i in self._start and self.l2_sp is not None else self.spec.decay

    def _away(self, i: int, weight: Any) -> Any:
        """How far the weight is from what it decays towards: with L2-SP its start, else zero."""
        return weight - self._start[i] if i in self._start else weight

    def slots(self) -> dict[str, dict[str, np.ndarray]]:
        """The slots of each tensor, zeros where there was no update yet."""
        return {
            name: {slot: tensor.from_keras(variables[i].numpy()) for slot, variables in self._slots.items()}
            for i, (name, tensor) in enumerate(self.tensors.items())
        }

    @property
    def counts(self) -> dict[str, int]:
        """How many updates each tensor has had."""
        return dict(zip(self.tensors, self._steps.numpy().tolist(), strict=True))

    def load(self, slots: Slots, counts: Mapping[str, int]) -> None:
        """Set the slots and counts of the tensors named."""
        steps = self._steps.numpy()
        for i, (name, tensor) in enumerate(self.tensors.items()):
            steps[i] = counts.get(name, steps[i])
            for slot, array in slots.get(name, {}).items():
                self._slots[slot][i].assign(tensor.to_keras(array))
        self._steps.assign(steps)
