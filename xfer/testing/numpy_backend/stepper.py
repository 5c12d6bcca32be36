"""Stepper in NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xfer.models.stepper import Slots, Stepper
from xfer.specs.inputs import Inputs
from xfer.specs.update import UpdateSpec
from xfer.testing.numpy_backend.layers import Dropout
from xfer.testing.numpy_backend.loss import loss_of
from xfer.testing.numpy_backend.model import NumpyModel
from xfer.testing.numpy_backend.optimizer import clip, global_norm, update

Gradients = dict[str, np.ndarray]


class NumpyStepper(Stepper):
    """Backpropagation by the layers' own rules, and torch's update rules."""

    model: NumpyModel

    def __init__(self, model: NumpyModel, spec: UpdateSpec) -> None:
        super().__init__(model, spec)
        self._slots: dict[str, dict[str, np.ndarray]] = {}
        self._counts: dict[str, int] = {}

    def rebuild(self, blocks: Mapping[str, Sequence[str]]) -> None:
        shapes, slots = self.model.shapes(), self.update.optimizer.slots
        names = [name for name in shapes if name in self.model.trainable]
        self._counts = dict.fromkeys(names, 0)
        self._slots = {name: {slot: np.zeros(shapes[name], self.model.dtype) for slot in slots} for name in names}

    @np.errstate(all="ignore")  # who steps looks for NaN and infinity
    def train_step(self, inputs: Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int) -> float:
        statistics = self.statistics()
        loss, at_logits = loss_of(self.update.loss, self.forward(inputs, seed), labels)
        return self.apply_gradients(loss, self._gradients_at(at_logits, inputs.after), rates, statistics)

    @np.errstate(all="ignore")
    def compute_gradients(self, inputs: Inputs, labels: np.ndarray, seed: int) -> Gradients:
        _, at_logits = loss_of(self.update.loss, self.forward(inputs, seed), labels)
        return self._gradients_at(at_logits, inputs.after)

    @np.errstate(all="ignore")
    def forward(self, inputs: Inputs, seed: int) -> np.ndarray:
        for i, layer in enumerate(self.model.layers().values()):
            if isinstance(layer, Dropout):
                layer.rng = np.random.default_rng([seed, i])
        return self.model.forward(inputs)

    @np.errstate(all="ignore")
    def loss_gradients(self, outputs: Sequence[np.ndarray], labels: np.ndarray) -> tuple[Any, list[np.ndarray]]:
        loss, at_logits = loss_of(self.update.loss, np.concatenate(outputs), labels)
        return loss, np.split(at_logits, np.cumsum([len(each) for each in outputs])[:-1])

    @np.errstate(all="ignore")
    def backward(self, inputs: Inputs, seed: int, at_outputs: np.ndarray, total: Gradients | None) -> Gradients:
        self.forward(inputs, seed)
        gradients = self._gradients_at(at_outputs, inputs.after)
        return gradients if total is None else {name: total[name] + g for name, g in gradients.items()}

    @np.errstate(all="ignore")
    def apply_gradients(
        self, loss: Any, gradients: Gradients, rates: Mapping[str, float], statistics: Mapping[str, Any]
    ) -> float:
        norm, bound = global_norm(gradients), self.update.clip_norm
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.restore(statistics)
            return math.nan
        if bound is not None:
            gradients = clip(gradients, bound, norm)
        weights = self.model.read(gradients)
        for name, gradient in gradients.items():
            self._counts[name] += 1
            rate = rates[self.model.card.block_of(name)]
            slots, count = self._slots[name], self._counts[name]
            weights[name] = update(self.update.optimizer, weights[name], gradient, slots, count, rate)
        self.model.write(weights)
        return float(loss)

    def read_gradients(self, gradients: Gradients) -> dict[str, np.ndarray]:
        return gradients

    def read_slots(self) -> Slots:
        return {name: {slot: array.copy() for slot, array in slots.items()} for name, slots in self._slots.items()}

    def read_counts(self) -> Mapping[str, int]:
        return dict(self._counts)

    def write_slots(self, slots: Slots, counts: Mapping[str, int]) -> None:
        self._counts |= counts
        for name, arrays in slots.items():
            self._slots[name] |= {slot: np.array(array, self.model.dtype) for slot, array in arrays.items()}

    def _gradients_at(self, at_logits: np.ndarray, after: str | None) -> Gradients:
        gradients = self.model.backward(at_logits, after)
        return {name: gradients[name] for name in self.model.shapes() if name in self.model.trainable}
