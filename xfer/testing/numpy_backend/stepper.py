"""Stepper in NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xfer.models.stepper import Stepper
from xfer.specs.inputs import Inputs
from xfer.testing.numpy_backend.layers import Dropout
from xfer.testing.numpy_backend.loss import loss_of
from xfer.testing.numpy_backend.model import NumpyModel
from xfer.testing.numpy_backend.optimizer import Optimizer

Gradients = dict[str, np.ndarray]


class NumpyStepper(Stepper):
    """Backpropagation by the layers' own rules, and torch's update rules."""

    model: NumpyModel
    optimizer: Optimizer

    def rebuild(self, blocks: Mapping[str, Sequence[str]], start: Mapping[str, np.ndarray]) -> None:
        shapes = {name: shape for name, shape in self.model.shapes().items() if name in self.model.trainable}
        self.optimizer = Optimizer(self.update, shapes, self.model.dtype, start)

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
        by_tensor = {name: rates[self.model.card.block_of(name)] for name in gradients}
        buffers = self.statistics().values()
        weights = self.optimizer.update(self.model.read(gradients), gradients, loss, by_tensor, buffers)
        if weights is None:
            self.restore(statistics)
            return math.nan
        self.model.write(weights)
        return float(loss)

    def read_gradients(self, gradients: Gradients) -> dict[str, np.ndarray]:
        return gradients

    def _gradients_at(self, at_logits: np.ndarray, after: str | None) -> Gradients:
        gradients = self.model.backward(at_logits, after)
        return {name: gradients[name] for name in self.model.shapes() if name in self.model.trainable}
