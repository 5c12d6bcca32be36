"""The GAN on PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xfer.features.gan import SLOPE, UPDATE, Gan, GanSpec
from xfer_torch.optimizer import Optimizer


class TorchGan(Gan):
    """Weights by name, autograd twice for the penalty, and torch's Adam."""

    def __init__(
        self, weights: Mapping[str, np.ndarray], classifier: tuple[np.ndarray, np.ndarray], spec: GanSpec
    ) -> None:
        self.spec = spec
        self.dtype = torch.float64 if spec.precision == "fp64" else torch.float32
        self.weights = {name: self._tensor(array).requires_grad_() for name, array in weights.items()}
        self._judge = tuple(map(self._tensor, classifier))
        self._rules = {part: Optimizer(UPDATE, {part: self._of(part)}) for part in ("generator", "critic")}

    def critic_step(self, real: np.ndarray, onehot: np.ndarray, noise: np.ndarray, mix: np.ndarray) -> float:
        x, c, z, share = map(self._tensor, (real, onehot, noise, mix))
        with torch.no_grad():
            made = self._run("generator", z, c)
        between = (share * x + (1 - share) * made).requires_grad_()
        (slope,) = torch.autograd.grad(self._run("critic", between, c).sum(), between, create_graph=True)
        penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
        loss = self._run("critic", made, c).mean() - self._run("critic", x, c).mean() + self.spec.penalty * penalty
        return self._update("critic", loss)

    def generator_step(self, noise: np.ndarray, onehot: np.ndarray) -> float:
        z, c = map(self._tensor, (noise, onehot))
        made = self._run("generator", z, c)
        logits = functional.linear(made, *self._judge)
        loss = -self._run("critic", made, c).mean()
        return self._update("generator", loss + self.spec.classification * functional.cross_entropy(logits, c))

    def generate(self, noise: np.ndarray, onehot: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.array(self._run("generator", self._tensor(noise), self._tensor(onehot)).numpy())

    def _run(self, part: str, x: Tensor, condition: Tensor) -> Tensor:
        hidden = functional.linear(torch.cat([x, condition], 1), *self._layer(f"{part}.hidden"))
        return functional.linear(functional.leaky_relu(hidden, SLOPE), *self._layer(f"{part}.out"))

    def _update(self, part: str, loss: Tensor) -> float:
        for name, gradient in zip(
            self._of(part), torch.autograd.grad(loss, list(self._of(part).values())), strict=True
        ):
            self.weights[name].grad = gradient
        return self._rules[part].update(loss.detach(), {part: self.spec.rate}, ())

    def _of(self, part: str) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.weights.items() if name.startswith(part)}

    def _layer(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self.dtype)
