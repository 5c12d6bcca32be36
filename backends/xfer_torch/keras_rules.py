"""The rules of keras.optimizers as torch's optimizers (keras/src/optimizers/{sgd,adam}.py), without weight decay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch


class KerasSGD(torch.optim.Optimizer):
    """v = momentum * v - lr * g; the weight moves by v, with Nesterov momentum by momentum * v - lr * g."""

    def __init__(self, params: Iterable[Mapping[str, Any]], lr: float, momentum: float, nesterov: bool) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "nesterov": nesterov})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of the tensors that have a gradient."""
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if not momentum:
                    weight.sub_(rate * weight.grad)
                    continue
                state = self.state[weight]
                velocity = state.setdefault("momentum_buffer", torch.zeros_like(weight))
                velocity.mul_(momentum).sub_(rate * weight.grad)
                weight.add_(momentum * velocity - rate * weight.grad if group["nesterov"] else velocity)


class KerasAdam(torch.optim.Optimizer):
    """Adam with epsilon outside of the correction of the second moment's bias: m * alpha / (sqrt(v) + eps)."""

    def __init__(self, params: Iterable[Mapping[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of the tensors that have a gradient."""
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                mean = state.setdefault("exp_avg", torch.zeros_like(weight))
                square = state.setdefault("exp_avg_sq", torch.zeros_like(weight))
                state["step"] = state.get("step", torch.tensor(0.0)) + 1
                step = float(state["step"])
                mean.add_(weight.grad - mean, alpha=1 - beta1)
                square.add_(weight.grad.square() - square, alpha=1 - beta2)
                alpha = group["lr"] * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
                weight.sub_(alpha * mean / (square.sqrt() + group["eps"]))
