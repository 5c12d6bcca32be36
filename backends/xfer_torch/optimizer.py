"""Update rules: torch's own optimizers, one parameter group a block, their state by canonical tensor name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xfer.models.update_rule import Slots
from xfer.specs.update import UpdateSpec
from xfer_torch.keras_rules import KerasAdam, KerasSGD
from xfer_torch.model import to_numpy


class Optimizer:
    """A `torch.optim.Optimizer` over named tensors.

    Args:
        spec: the update.
        blocks: trainable tensors by canonical name, by block.
        start: what L2-SP decays tensors towards, by canonical name.

    Attributes:
        counts: how many updates each tensor has had.
    """

    def __init__(
        self,
        spec: UpdateSpec,
        blocks: Mapping[str, Mapping[str, Tensor]],
        start: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.spec = spec
        self.tensors = {name: tensor for tensors in blocks.values() for name, tensor in tensors.items()}
        self._start = {
            self.tensors[name]: torch.from_numpy(a).to(self.tensors[name]) for name, a in (start or {}).items()
        }
        groups: list[dict[str, Any]] = []
        for block, tensors in blocks.items():
            pulled = [tensor for tensor in tensors.values() if tensor in self._start]
            others = [tensor for tensor in tensors.values() if tensor not in self._start]
            groups += [{"params": pulled, "block": block, "weight_decay": 0.0}] if pulled else []
            groups += [{"params": others, "block": block}] if others else []
        self.native = _native(spec, groups)
        self.counts = dict.fromkeys(self.tensors, 0)

    def update(self, loss: Tensor, rates: Mapping[str, float], buffers: Sequence[Tensor]) -> float:
        """One update from the gradients in the tensors, which are clipped by their global norm and dropped after it.

        Tensors without a gradient stay as they are.

        Args:
            loss: a scalar.
            rates: learning rate by block.
            buffers: running statistics that the pass has changed.

        Returns:
            The loss; NaN where it, the norm or a buffer is not finite, and then there was no update.
        """
        gradients = [tensor.grad for tensor in self.tensors.values() if tensor.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        largest = torch.nn.utils.get_total_norm(buffers, math.inf)
        # In one copy: this waits for the device.
        found, *others = torch.stack([loss, norm.to(loss), largest.to(loss)]).tolist()
        finite = math.isfinite(found) and all(map(math.isfinite, others))
        if finite:
            if self.spec.clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(self.tensors.values(), self.spec.clip_norm, norm)
            for group in self.native.param_groups:
                group["lr"] = rates[group["block"]]
                self._pull(group["params"], group["lr"])
                self._decay(group["params"], group["lr"])
            self.native.step()
            for name, tensor in self.tensors.items():
                self.counts[name] += tensor.grad is not None
        self.native.zero_grad(set_to_none=True)
        return found if finite else math.nan

    @torch.no_grad()
    def _pull(self, tensors: Sequence[Tensor], rate: float) -> None:
        """L2-SP: weight decay towards `start`, as the update rule has it towards zero."""
        weights = [tensor for tensor in tensors if tensor in self._start and tensor.grad is not None]
        if weights and self.spec.l2_sp is not None:
            away = torch._foreach_sub(weights, [self._start[tensor] for tensor in weights])
            if self.spec.decoupled:
                torch._foreach_add_(weights, away, alpha=-rate * self.spec.l2_sp)
            else:
                torch._foreach_add_([tensor.grad for tensor in weights], away, alpha=self.spec.l2_sp)

    @torch.no_grad()
    def _decay(self, tensors: Sequence[Tensor], rate: float) -> None:
        """Weight decay that the native optimizer does not apply."""
        decay, has = self.spec.optimizer.decay, [t for t in tensors if t not in self._start and t.grad is not None]
        if self.native.defaults.get("weight_decay", 0.0) or not (decay and has):
            return
        if self.spec.decoupled:
            torch._foreach_mul_(has, 1 - rate * decay)
        else:
            torch._foreach_add_([tensor.grad for tensor in has], has, alpha=decay)

    def slots(self) -> dict[str, dict[str, np.ndarray]]:
        """The slots of each tensor, zeros where there was no update yet."""
        names = self.spec.optimizer.slots
        return {
            name: {slot: to_numpy(self.native.state[tensor].get(slot, torch.zeros_like(tensor))) for slot in names}
            for name, tensor in self.tensors.items()
        }

    def load(self, slots: Slots, counts: Mapping[str, int]) -> None:
        """Set the slots and counts of the tensors named."""
        self.counts |= counts
        for name in counts:
            tensor = self.tensors[name]
            state = self.native.state[tensor]
            for slot, array in slots.get(name, {}).items():
                state[slot] = torch.zeros_like(tensor).copy_(torch.from_numpy(array))
            if self.spec.optimizer.name != "sgd":
                state["step"] = torch.tensor(float(counts[name]))


def _native(update: UpdateSpec, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    # The rate is set at every update; the one given here is never used.
    spec = update.optimizer
    if update.form == "keras":
        if spec.name == "sgd":
            return KerasSGD(groups, 1.0, spec.momentum, spec.nesterov)
        return KerasAdam(groups, 1.0, spec.betas, spec.eps)
    decay = spec.decay if update.decay_form == "torch" or spec.name == "adamw" else 0.0
    if spec.name == "sgd":
        return torch.optim.SGD(groups, lr=1.0, momentum=spec.momentum, nesterov=spec.nesterov, weight_decay=decay)
    rule = torch.optim.Adam if spec.name == "adam" else torch.optim.AdamW
    return rule(groups, lr=1.0, betas=spec.betas, eps=spec.eps, weight_decay=decay)
