"""torch's update rules, line by line after the pseudo-code in its documentation (torch.optim.SGD, Adam, AdamW)."""

from __future__ import annotations

import numpy as np

from xfer.specs.optimizer import OptimizerSpec

Slots = dict[str, np.ndarray]


def global_norm(gradients: dict[str, np.ndarray]) -> float:
    """The norm of all gradients as one vector, in their own precision."""
    return float(np.sqrt(sum((g * g).sum() for g in gradients.values())))


def clip(gradients: dict[str, np.ndarray], bound: float, norm: float) -> dict[str, np.ndarray]:
    """Scale all gradients, whose global norm is `norm`, to at most `bound` (torch.nn.utils.clip_grad_norm_)."""
    factor = min(1.0, bound / (norm + 1e-6))
    return {name: gradient * gradient.dtype.type(factor) for name, gradient in gradients.items()}


def update(
    spec: OptimizerSpec, weight: np.ndarray, gradient: np.ndarray, slots: Slots, step: int, rate: float
) -> np.ndarray:
    """The weight after update number `step` (1 for the first); `slots` are changed in place."""
    kind = weight.dtype.type
    if spec.name == "adamw":
        weight = weight * kind(1 - rate * spec.decay)
    elif spec.decay:
        gradient = gradient + kind(spec.decay) * weight
    if spec.name == "sgd":
        return np.asarray(weight - kind(rate) * _momentum(spec, gradient, slots))
    beta1, beta2 = spec.betas
    mean, square = slots["exp_avg"], slots["exp_avg_sq"]
    mean += (gradient - mean) * kind(1 - beta1)
    square *= kind(beta2)
    square += kind(1 - beta2) * gradient * gradient
    root = np.sqrt(square) / kind(np.sqrt(1 - beta2**step)) + kind(spec.eps)
    return np.asarray(weight - kind(rate / (1 - beta1**step)) * mean / root)


def _momentum(spec: OptimizerSpec, gradient: np.ndarray, slots: Slots) -> np.ndarray:
    if not spec.momentum:
        return gradient
    buffer = slots["momentum_buffer"]
    buffer *= gradient.dtype.type(spec.momentum)
    buffer += gradient
    return gradient + gradient.dtype.type(spec.momentum) * buffer if spec.nesterov else buffer
