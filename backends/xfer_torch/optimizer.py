"""Update rules: torch's own optimizers, one parameter group a block, their state by canonical tensor name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xfer.specs.optimizer import OptimizerSpec
from xfer_torch.model import to_numpy


class Optimizer:
    """A `torch.optim.Optimizer` over named tensors.

    Args:
        spec: the update rule.
        blocks: trainable tensors by canonical name, by block.
    """

    def __init__(self, spec: OptimizerSpec, blocks: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.spec = spec
        self.tensors = {name: tensor for tensors in blocks.values() for name, tensor in tensors.items()}
        groups = [{"params": list(tensors.values()), "block": block} for block, tensors in blocks.items()]
        self.native = _native(spec, groups)
        self._steps = dict.fromkeys(self.tensors, 0)

    def update(self, loss: Tensor, rates: Mapping[str, float], clip_norm: float | None) -> float:
        """One update from the gradients at hand, which are clipped by their global norm first and dropped after.

        Returns:
            The loss; NaN where it or the norm is not finite, and then there was no update.
        """
        gradients = [tensor.grad for tensor in self.tensors.values() if tensor.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        found, size = torch.stack([loss, norm.to(loss)]).tolist()  # both at once: this is what waits for the device
        fine = math.isfinite(found) and math.isfinite(size)
        if fine:
            if clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(self.tensors.values(), clip_norm, norm)
            for group in self.native.param_groups:
                group["lr"] = rates[group["block"]]
            self.native.step()
            for name in self._steps:
                self._steps[name] += 1
        self.native.zero_grad(set_to_none=True)
        return found if fine else math.nan

    def state(self) -> dict[str, np.ndarray]:
        """Slots as `slot/tensor`, zero where there was no update yet, and `step/tensor`."""
        result: dict[str, np.ndarray] = {}
        for name, tensor in self.tensors.items():
            kept = self.native.state.get(tensor, {})
            for slot in self.spec.slots:
                result[f"{slot}/{name}"] = to_numpy(kept.get(slot, torch.zeros_like(tensor)))
            result[f"step/{name}"] = np.array(self._steps[name], np.int64)
        return result

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Set the slots that `state` names, of the tensors that are trainable."""
        for name, tensor in self.tensors.items():
            self._steps[name] = int(state.get(f"step/{name}", self._steps[name]))
            kept = self.native.state[tensor]
            for slot in self.spec.slots:
                if (array := state.get(f"{slot}/{name}")) is not None:
                    kept[slot] = torch.zeros_like(tensor).copy_(torch.from_numpy(array))
                elif slot not in kept:
                    kept[slot] = torch.zeros_like(tensor)
            if self.spec.name != "sgd":
                kept["step"] = torch.tensor(float(self._steps[name]))


def _native(spec: OptimizerSpec, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    # The rate is set at every update; the one given here is never used.
    if spec.name == "sgd":
        return torch.optim.SGD(groups, lr=1.0, momentum=spec.momentum, nesterov=spec.nesterov, weight_decay=spec.decay)
    rule = torch.optim.Adam if spec.name == "adam" else torch.optim.AdamW
    return rule(groups, lr=1.0, betas=spec.betas, eps=spec.eps, weight_decay=spec.decay)
