"""Stepper in NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from xfer.models.base_model import STATISTICS
from xfer.models.stepper import Stepper
from xfer.specs.inputs import Inputs
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.testing.numpy_backend.layers import Dropout
from xfer.testing.numpy_backend.loss import loss_of
from xfer.testing.numpy_backend.model import NumpyModel
from xfer.testing.numpy_backend.optimizer import clip, global_norm, update


class NumpyStepper(Stepper):
    """Backpropagation by the layers' own rules, and torch's update rules."""

    model: NumpyModel

    def __init__(
        self, model: NumpyModel, optimizer: OptimizerSpec, loss: LossSpec, clip_norm: float | None = None
    ) -> None:
        super().__init__(model, optimizer, loss, clip_norm)
        self._slots: dict[str, dict[str, np.ndarray]] = {}
        self._steps: dict[str, int] = {}

    def rebuild(self) -> None:
        shapes = self.model.shapes()
        names = [name for name in shapes if name in self.model.trainable]
        empty = {name: {s: np.zeros(shapes[name], self.model.dtype) for s in self.optimizer.slots} for name in names}
        same = {n for n in names if n in self._slots and all(a.shape == shapes[n] for a in self._slots[n].values())}
        self._steps = {name: self._steps[name] if name in same else 0 for name in names}
        self._slots = {name: self._slots[name] if name in same else empty[name] for name in names}

    @np.errstate(all="ignore")  # who steps looks for NaN and infinity
    def train_step(self, inputs: Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int) -> float:
        statistics = self._statistics()
        loss, gradients = self._backward(inputs, labels, seed)
        norm = global_norm(gradients)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.model.write(statistics)
            return math.nan
        if self.clip_norm is not None:
            gradients = clip(gradients, self.clip_norm, norm)
        weights = self.model.read(gradients)
        for name, gradient in gradients.items():
            self._steps[name] += 1
            rate = rates[self.model.card.block_of(name)]
            slots = self._slots[name]
            weights[name] = update(self.optimizer, weights[name], gradient, slots, self._steps[name], rate)
        self.model.write(weights)
        return loss

    @np.errstate(all="ignore")
    def compute_gradients(self, inputs: Inputs, labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        statistics = self._statistics()
        _, gradients = self._backward(inputs, labels, seed)
        self.model.write(statistics)
        return gradients

    def read_state(self) -> dict[str, np.ndarray]:
        state = {f"{slot}/{name}": a.copy() for name, slots in self._slots.items() for slot, a in slots.items()}
        return state | {f"step/{name}": np.array(step, np.int64) for name, step in self._steps.items()}

    def write_state(self, state: Mapping[str, np.ndarray]) -> None:
        for name, slots in self._slots.items():
            self._steps[name] = int(state.get(f"step/{name}", self._steps[name]))
            for slot in slots:
                slots[slot] = np.array(state.get(f"{slot}/{name}", slots[slot]), self.model.dtype)

    def _statistics(self) -> dict[str, np.ndarray]:
        return self.model.read(name for name in self.model.shapes() if name.endswith(STATISTICS))

    def _backward(self, inputs: Inputs, labels: np.ndarray, seed: int) -> tuple[float, dict[str, np.ndarray]]:
        micro_batches = self.micro_batches(inputs, seed)
        statistics = self._statistics()
        loss, to_logits = loss_of(
            self.loss, np.concatenate([self._forward(*micro_batch) for micro_batch in micro_batches]), labels
        )
        if len(micro_batches) == 1:
            return float(loss), self._gradients(to_logits, inputs.after)
        self.model.write(statistics)
        at, total = 0, {name: np.zeros((), self.model.dtype) for name in self._slots}
        for micro_batch, its_seed in micro_batches:
            self._forward(micro_batch, its_seed)
            gradients = self._gradients(to_logits[at : at + len(micro_batch)], micro_batch.after)
            total = {name: total[name] + gradient for name, gradient in gradients.items()}
            at += len(micro_batch)
        return float(loss), total

    def _forward(self, inputs: Inputs, seed: int) -> np.ndarray:
        for i, layer in enumerate(self.model.layers().values()):
            if isinstance(layer, Dropout):
                layer.rng = np.random.default_rng([seed, i])
        return self.model.forward(inputs)

    def _gradients(self, to_logits: np.ndarray, after: str | None) -> dict[str, np.ndarray]:
        gradients = self.model.backward(to_logits, after)
        return {name: gradients[name] for name in self.model.shapes() if name in self.model.trainable}
