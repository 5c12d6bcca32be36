"""Update rules: torch's, in JAX, their state by canonical tensor name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xfer.models.update_rule import Slots
from xfer.specs.update import UpdateSpec
from xfer_keras_nets.layout import Tensor

Arrays = list[Any]
_START = "start"


class Optimizer:
    """torch.optim's SGD, Adam and AdamW (torch/optim/{sgd,adam,adamw}.py) over named tensors.

    The counts of updates, and what depends on them, are the host's, in float64; slots lie on the device.

    Args:
        spec: the update.
        blocks: trainable tensors by canonical name, by block.
        order: all blocks of the model, in the order of the rates.
        start: what L2-SP decays tensors towards, by canonical name, in torch's layouts.

    Attributes:
        state: the slots of all tensors, in their order, by name; with L2-SP also where they started.
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
        self.state = {slot: [jnp.zeros_like(v.value) for v in self.variables] for slot in self.spec.slots}
        self._pulled = [bool(start) and name in (start or {}) for name in self.tensors]
        if start:
            self.state[_START] = [
                jnp.array(tensor.to_keras(start[name]), tensor.variable.value.dtype) if name in start else jnp.zeros([])
                for name, tensor in self.tensors.items()
            ]
        self._steps = np.zeros(len(self.tensors), np.int64)

    @property
    def variables(self) -> list[Any]:
        """What is updated."""
        return [tensor.variable for tensor in self.tensors.values()]

    def scalars(self, rates: Sequence[float]) -> dict[str, np.ndarray]:
        """What the next update needs of rates, one for each block of the model, and of counts: float64 (T,) each."""
        rate, step = np.asarray(rates, np.float64)[self._places], self._steps + 1.0
        beta1, beta2 = self.spec.betas
        size, correction = rate / (1 - beta1**step), np.sqrt(1 - beta2**step)
        return {"rate": rate, "kept": 1 - rate * self.spec.decay, "size": size, "correction": correction}

    def update(
        self,
        loss: Any,
        gradients: Sequence[Any],
        scalars: Mapping[str, Any],
        old: tuple[Arrays, dict[str, Arrays], Arrays],
        buffers: Arrays,
    ) -> tuple[Any, tuple[Arrays, dict[str, Arrays], Arrays]]:
        """One update; traced into the step. Tensors without a gradient stay as they are.

        Args:
            loss: a scalar.
            gradients: one for each tensor, in order, None where nothing connects it with the loss.
            scalars: see the method.
            old: weights, slots and running statistics before the pass.
            buffers: running statistics after it.

        Returns:
            The loss, and what `old` becomes; NaN and `old` where the loss, the gradients' norm or a buffer is not
            finite.
        """
        norm = jnp.sqrt(sum((jnp.sum(g * g) for g in gradients if g is not None), jnp.zeros([], loss.dtype)))
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        for buffer in buffers:
            if jnp.issubdtype(buffer.dtype, jnp.floating):
                finite &= jnp.isfinite(buffer).all()
        factor = 1.0 if self.clip_norm is None else jnp.minimum(self.clip_norm / (norm + 1e-6), 1.0)
        weights, slots = list(old[0]), {slot: list(arrays) for slot, arrays in old[1].items()}
        rule = self._sgd if self.spec.name == "sgd" else self._adam
        for i, gradient in enumerate(gradients):
            if gradient is None:
                continue
            mine = {name: each[i].astype(weights[i].dtype) for name, each in scalars.items()}
            given = gradient if self.clip_norm is None else gradient * factor
            away = weights[i] - slots[_START][i] if self._pulled[i] else weights[i]
            weights[i], changed = rule(
                weights[i], {slot: slots[slot][i] for slot in self.spec.slots}, given, mine, i, away
            )
            for slot, array in changed.items():
                slots[slot][i] = array
        new = _where(finite, (weights, slots, buffers), old)
        return jnp.where(finite, loss, jnp.nan), new

    def count(self, connected: Sequence[bool]) -> None:
        """One more update of the tensors that have a gradient."""
        self._steps += np.asarray(connected, np.int64)

    def _decay(self, i: int) -> float:
        return self.l2_sp if self._pulled[i] and self.l2_sp is not None else self.spec.decay

    def _sgd(
        self, weight: Any, slots: dict[str, Any], gradient: Any, at: dict[str, Any], i: int, away: Any
    ) -> tuple[Any, dict[str, Any]]:
        """A weight and its slots after an update; `away` is how far it is from what it decays towards."""
        spec = self.spec
        weight, gradient = self._decayed(weight, gradient, at, i, away)
        if spec.momentum and self.form == "keras":
            momentum = spec.momentum * slots["momentum_buffer"] - at["rate"] * gradient
            change = spec.momentum * momentum - at["rate"] * gradient if spec.nesterov else momentum
            return weight + change, {"momentum_buffer": momentum}
        if spec.momentum:
            momentum = spec.momentum * slots["momentum_buffer"] + gradient
            slots = {"momentum_buffer": momentum}
            gradient = gradient + spec.momentum * momentum if spec.nesterov else momentum
        return weight - at["rate"] * gradient, slots

    def _adam(
        self, weight: Any, slots: dict[str, Any], gradient: Any, at: dict[str, Any], i: int, away: Any
    ) -> tuple[Any, dict[str, Any]]:
        """See `_sgd`."""
        spec, (beta1, beta2) = self.spec, self.spec.betas
        weight, gradient = self._decayed(weight, gradient, at, i, away)
        mean, square = slots["exp_avg"], slots["exp_avg_sq"]
        mean = mean + (gradient - mean) * (1 - beta1)
        square = beta2 * square + (1 - beta2) * gradient * gradient
        if self.form == "keras":
            weight = weight - at["size"] * at["correction"] * mean / (jnp.sqrt(square) + spec.eps)
        else:
            weight = weight - at["size"] * mean / (jnp.sqrt(square) / at["correction"] + spec.eps)
        return weight, {"exp_avg": mean, "exp_avg_sq": square}

    def _decayed(self, weight: Any, gradient: Any, at: dict[str, Any], i: int, away: Any) -> tuple[Any, Any]:
        """A weight and its gradient, one of which has the decay in it."""
        decay = self._decay(i)
        if decay and not self.decoupled:
            return weight, gradient + decay * away
        if decay:
            return (weight - at["rate"] * decay * away if self._pulled[i] else weight * at["kept"]), gradient
        return weight, gradient

    def slots(self) -> dict[str, dict[str, np.ndarray]]:
        """The slots of each tensor, zeros where there was no update yet."""
        return {
            name: {slot: tensor.from_keras(np.asarray(self.state[slot][i])) for slot in self.spec.slots}
            for i, (name, tensor) in enumerate(self.tensors.items())
        }

    @property
    def counts(self) -> dict[str, int]:
        """How many updates each tensor has had."""
        return dict(zip(self.tensors, self._steps.tolist(), strict=True))

    def load(self, slots: Slots, counts: Mapping[str, int]) -> None:
        """Set the slots and counts of the tensors named."""
        for i, (name, tensor) in enumerate(self.tensors.items()):
            self._steps[i] = counts.get(name, self._steps[i])
            for slot, array in slots.get(name, {}).items():
                self.state[slot][i] = jnp.array(tensor.to_keras(array), self.state[slot][i].dtype)


def _where(condition: Any, these: Any, those: Any) -> Any:
    """One or the other of two trees."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), these, those)
