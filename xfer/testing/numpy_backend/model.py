"""BaseModel in NumPy: the network of `xfer.zoo.tiny`, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from xfer.models.backend import Backend
from xfer.models.base_model import BaseModel
from xfer.models.spec import ModelSpec
from xfer.specs.head import Head
from xfer.specs.inputs import Inputs
from xfer.testing.numpy_backend.layers import (
    BatchNorm,
    Conv,
    Dropout,
    GlobalAverage,
    Heads,
    Layer,
    LayerNorm,
    Linear,
    ReLU,
)

Stage = dict[str, Layer]


class NumpyModel(BaseModel):
    """Stages of named layers; the names of those with tensors are canonical."""

    def __init__(self, backend: Backend, spec: ModelSpec) -> None:
        super().__init__(backend, spec)
        self.dtype: type[Any] = np.float64 if spec.precision == "fp64" else np.float32
        first, second = spec.card.config["widths"]
        norm = partial(self._norm, eps=spec.card.norm_eps, momentum=spec.card.norm_momentum)
        self.stages: dict[str, Stage] = {
            "stem": {"conv1": self._conv(3, first), "bn1": norm(first), "relu": ReLU()},
            "layer1": {
                "layer1.conv": self._conv(first, second),
                "layer1.bn": norm(second),
                "layer1.relu": ReLU(),
            },
        }
        last: Stage = {"avgpool": GlobalAverage()}
        if hidden := spec.card.config.get("hidden"):
            self.stages["mlp"] = last | {"mlp": Linear(second, hidden, self.dtype), "mlp.relu": ReLU()}
            last = {}
        self.stages["features"] = last
        self.build_head()
        if spec.lora is not None:
            self.build_lora()

    def build_head(self) -> None:
        heads = [self._head(prefix, head, outputs) for prefix, (head, outputs) in self.spec.heads.items()]
        self.stages["head"] = {f"{self.card.head}.tasks": Heads(heads)} if self.spec.tasks else heads[0]
        self.native = self.stages

    def build_lora(self) -> None:
        lora = self.spec.lora
        for name, layer in self.layers().items():
            if isinstance(layer, Linear):
                layer.adapt(lora.rank if lora and f"{name}.weight" in lora.weights else 0, lora.scale if lora else 0.0)

    def _head(self, name: str, head: Head, outputs: int) -> Stage:
        width = self.spec.head_inputs
        layers: Stage = {f"{name}.dropout": Dropout(head.dropout)} if head.linear and head.dropout else {}
        for i, hidden in enumerate(head.hidden):
            layers[f"{name}.hidden{i}"] = Linear(width, hidden, self.dtype)
            if head.norm == "batch":
                layers[f"{name}.norm{i}"] = self._norm(hidden, 1e-5, 0.1)
            elif head.norm == "layer":
                layers[f"{name}.norm{i}"] = LayerNorm(hidden, self.dtype)
            layers[f"{name}.relu{i}"] = ReLU()
            if head.dropout:
                layers[f"{name}.dropout{i}"] = Dropout(head.dropout)
            width = hidden
        return {**layers, (name if head.linear else f"{name}.out"): Linear(width, outputs, self.dtype)}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{name}.{role}": tensor.shape
            for name, layer in self.layers().items()
            for role, tensor in layer.tensors.items()
        }

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        return {name: self._owner(name)[0].tensors[self._owner(name)[1]].copy() for name in names}

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            layer, role = self._owner(name)
            layer.tensors[role] = array.astype(self.dtype)

    def apply_trainable(self) -> None:
        for name, layer in self.layers().items():
            layer.live = any(f"{name}.{role}" in self.trainable for role in layer.tensors)

    def apply_precision(self) -> None:
        """Nothing to do: there is no bf16."""

    @np.errstate(all="ignore")  # NaN and infinity are for the caller to find
    def run(self, inputs: Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        x, found = self._enter(inputs), {}
        for stage in ("input", *self.stages_after(inputs.after)):
            x = self._joined(x, inputs) if stage == "head" else x
            for layer in self.stages.get(stage, {}).values():
                x = layer.forward(x, training=False)
            found[stage] = x
        return {stage: found[stage] for stage in stages}

    @np.errstate(all="ignore")
    def run_gradient(self, inputs: Inputs, block: str, at_logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = self.run(inputs, (block, "head"))
        return found[block], self._back(np.asarray(at_logits, self.dtype), block)[0]

    def forward(self, inputs: Inputs) -> np.ndarray:
        """Logits (N, K) as training sees them; a stage in which nothing is trainable runs in inference mode."""
        x = self._enter(inputs)
        for stage in self.stages_after(inputs.after):
            x = self._joined(x, inputs) if stage == "head" else x
            live = any(layer.live for layer in self.layers(stage).values() if layer.tensors)
            for layer in self.stages[stage].values():
                x = layer.forward(x, training=live)
        return x

    def backward(self, dy: np.ndarray, after: str | None) -> dict[str, np.ndarray]:
        """Gradients of all tensors that have one, by canonical name, from that of the logits."""
        return self._back(dy, after)[1]

    def _back(self, dy: np.ndarray, after: str | None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The gradient at what the stage behind `after` reads, and those of the tensors."""
        found: dict[str, np.ndarray] = {}
        for stage in reversed(self.stages_after(after)):
            for layer in reversed(self.stages[stage].values()):
                dy = layer.backward(dy)
            for name, layer in self.layers(stage).items():
                found |= {f"{name}.{role}": gradient for role, gradient in layer.grads.items()}
            if stage == "head" and self.spec.columns:
                dy = dy[:, : -self.spec.columns]
        return dy, found

    def _enter(self, inputs: Inputs) -> np.ndarray:
        return self.normalise(inputs.values) if inputs.after is None else np.asarray(inputs.values, self.dtype)

    def _joined(self, features: np.ndarray, inputs: Inputs) -> np.ndarray:
        return features if inputs.columns is None else np.hstack([features, np.asarray(inputs.columns, self.dtype)])

    def normalise(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, S, S, 3) to normalised (N, S, S, 3)."""
        recipe = self.spec.preprocessing
        mean, std = np.array(recipe.mean, self.dtype), np.array(recipe.std, self.dtype)
        pixels = np.asarray(images, self.dtype)
        return np.asarray((pixels / 255 - mean) / std)

    def layers(self, *stages: str) -> Stage:
        """All layers by name in forward order, or those of some stages; those of heads one by one."""
        found: Stage = {}
        for stage in stages or self.stages:
            for name, layer in self.stages[stage].items():
                found |= layer.inner() if isinstance(layer, Heads) else {name: layer}
        return found

    def _owner(self, tensor: str) -> tuple[Layer, str]:
        name, role = tensor.rsplit(".", 1)
        return self.layers()[name], role

    def _conv(self, channels: int, out: int) -> Conv:
        same = self.spec.numerics.padding == "same"
        return Conv(channels, out, kernel=3, stride=2, pad=1, dtype=self.dtype, same=same)

    def _norm(self, width: int, eps: float, momentum: float) -> BatchNorm:
        habits = self.spec.numerics
        eps, momentum = habits.norm_eps or eps, habits.norm_momentum or momentum
        return BatchNorm(width, eps, momentum, self.dtype, biased=habits.norm_variance == "biased")
