"""torch's update rules, line by line after the pseudo-code in its documentation (torch.optim.SGD, Adam, AdamW).

With form="keras" those of keras.optimizers (keras/src/optimizers/{sgd,adam}.py: update_step).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from xfer.models.update_rule import Slots
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.update import UpdateSpec


class Optimizer:
    """torch.optim's SGD, Adam and AdamW over named tensors.

    Args:
        spec: the update.
        shapes: of the trainable tensors, by name.
        dtype: of the slots.
        start: what L2-SP decays tensors towards, by name.

    Attributes:
        counts: how many updates each tensor has had.
    """

    def __init__(
        self,
        spec: UpdateSpec,
        shapes: Mapping[str, tuple[int, ...]],
        dtype: Any,
        start: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.spec, self._dtype, self._start = spec, dtype, start or {}
        self.counts = dict.fromkeys(shapes, 0)
        self._slots = {
            name: {slot: np.zeros(shape, dtype) for slot in spec.optimizer.slots} for name, shape in shapes.items()
        }

    def update(
        self,
        weights: Mapping[str, np.ndarray],
        gradients: dict[str, np.ndarray],
        loss: float,
        rates: Mapping[str, float],
        buffers: Iterable[np.ndarray],
    ) -> dict[str, np.ndarray] | None:
        """The weights after one update; None where the loss, the gradients' norm or a buffer is not finite.

        Args:
            weights: by name. gradients: by name.
            loss: a number.
            rates: learning rate by tensor.
            buffers: running statistics that the pass has changed.
        """
        norm, bound = global_norm(gradients), self.spec.clip_norm
        if not (math.isfinite(loss) and math.isfinite(norm) and all(np.isfinite(array).all() for array in buffers)):
            return None
        if bound is not None:
            gradients = clip(gradients, bound, norm)
        found = {}
        for name, gradient in gradients.items():
            self.counts[name] += 1
            slots, count = self._slots[name], self.counts[name]
            rule, start = self.spec, self._start.get(name)
            if start is not None:
                rule = replace(rule, optimizer=replace(rule.optimizer, weight_decay=self.spec.l2_sp))
            found[name] = update(rule, weights[name], gradient, slots, count, rates[name], start)
        return found

    def slots(self) -> Slots:
        """Copies of the slots of each tensor, zeros where there was no update yet."""
        return {name: {slot: array.copy() for slot, array in slots.items()} for name, slots in self._slots.items()}

    def load(self, slots: Slots, counts: Mapping[str, int]) -> None:
        """Set the slots and counts of the tensors named."""
        self.counts |= counts
        for name, arrays in slots.items():
            self._slots[name] |= {slot: np.array(array, self._dtype) for slot, array in arrays.items()}


def global_norm(gradients: dict[str, np.ndarray]) -> float:
    """The norm of all gradients as one vector, in their own precision."""
    return float(np.sqrt(sum((g * g).sum() for g in gradients.values())))


def clip(gradients: dict[str, np.ndarray], bound: float, norm: float) -> dict[str, np.ndarray]:
    """Scale all gradients, whose global norm is `norm`, to at most `bound` (torch.nn.utils.clip_grad_norm_)."""
    factor = min(1.0, bound / (norm + 1e-6))
    return {name: gradient * gradient.dtype.type(factor) for name, gradient in gradients.items()}


def update(
    rule: UpdateSpec,
    weight: np.ndarray,
    gradient: np.ndarray,
    slots: dict[str, np.ndarray],
    step: int,
    rate: float,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """The weight after update number `step` (1 for the first), which decays towards `start`, or zero.

    `slots` are changed in place.
    """
    kind, spec = weight.dtype.type, rule.optimizer
    away = weight if start is None else weight - start
    if rule.decoupled:
        weight = weight - kind(rate * spec.decay) * away
    elif spec.decay:
        gradient = gradient + kind(spec.decay) * away
    if spec.name == "sgd" and rule.form == "keras":
        return np.asarray(weight + _velocity(spec, kind(rate) * gradient, slots))
    if spec.name == "sgd":
        return np.asarray(weight - kind(rate) * _momentum(spec, gradient, slots))
    beta1, beta2 = spec.betas
    mean, square = slots["exp_avg"], slots["exp_avg_sq"]
    mean += (gradient - mean) * kind(1 - beta1)
    square *= kind(beta2)
    square += kind(1 - beta2) * gradient * gradient
    if rule.form == "keras":
        alpha = rate * np.sqrt(1 - beta2**step) / (1 - beta1**step)
        return np.asarray(weight - kind(alpha) * mean / (np.sqrt(square) + kind(spec.eps)))
    root = np.sqrt(square) / kind(np.sqrt(1 - beta2**step)) + kind(spec.eps)
    return np.asarray(weight - kind(rate / (1 - beta1**step)) * mean / root)


def _momentum(spec: OptimizerSpec, gradient: np.ndarray, slots: dict[str, np.ndarray]) -> np.ndarray:
    if not spec.momentum:
        return gradient
    buffer = slots["momentum_buffer"]
    buffer *= gradient.dtype.type(spec.momentum)
    buffer += gradient
    return gradient + gradient.dtype.type(spec.momentum) * buffer if spec.nesterov else buffer


def _velocity(spec: OptimizerSpec, change: np.ndarray, slots: dict[str, np.ndarray]) -> np.ndarray:
    """What is added to the weight; `change` is rate times gradient."""
    if not spec.momentum:
        return -change
    momentum, velocity = change.dtype.type(spec.momentum), slots["momentum_buffer"]
    velocity *= momentum
    velocity -= change
    return momentum * velocity - change if spec.nesterov else velocity
