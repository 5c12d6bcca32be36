"""Stepper on PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from xfer.models.stepper import Stepper
from xfer.specs.inputs import Inputs
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer_torch.distributed import TorchDistributedContext, joined, others, parallel
from xfer_torch.loss import loss_of
from xfer_torch.model import TorchModel, to_numpy
from xfer_torch.optimizer import Optimizer


class TorchStepper(Stepper):
    """Autograd and `torch.optim` for the tensors that are trainable at the moment."""

    model: TorchModel

    def __init__(
        self, model: TorchModel, optimizer: OptimizerSpec, loss: LossSpec, clip_norm: float | None = None
    ) -> None:
        super().__init__(model, optimizer, loss, clip_norm)
        self._rule: Optimizer | None = None
        self._parallel: dict[str | None, DistributedDataParallel] = {}
        self._followed: list[Tensor] = []

    def rebuild(self) -> None:
        self._parallel = {}
        self.model.set_training(True)
        modules = [module for module in self.model.native.modules() if module.training]
        self._followed = [buffer for module in modules for buffer in module.buffers(recurse=False)]
        self.model.set_training(False)
        kept = self._rule.state() if self._rule else {}
        tensors = self.model.tensors()
        blocks = {block: {name: tensors[name] for name in names} for block, names in self.trainable_by_block().items()}
        self._rule = Optimizer(self.optimizer, blocks)
        if kept:
            self._rule.load_state(kept)

    def train_step(self, inputs: Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int) -> float:
        before = [buffer.clone() for buffer in self._followed]
        loss = self._optimizer.update(self._backward(inputs, labels, seed), rates, self.clip_norm)
        if math.isnan(loss):
            for buffer, array in zip(self._followed, before, strict=True):
                buffer.copy_(array)
        return loss

    def compute_gradients(self, inputs: Inputs, labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        statistics = {name: buffer.clone() for name, buffer in self.model.native.named_buffers()}
        self._backward(inputs, labels, seed)
        gradients = {name: to_numpy(tensor.grad) for name, tensor in self._optimizer.tensors.items()}
        self._optimizer.native.zero_grad(set_to_none=True)
        for name, buffer in self.model.native.named_buffers():
            buffer.copy_(statistics[name])
        return gradients

    def read_state(self) -> dict[str, np.ndarray]:
        return self._optimizer.state()

    def write_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._optimizer.load_state(state)

    @property
    def _optimizer(self) -> Optimizer:
        assert self._rule is not None, "rebuild() comes first"
        return self._rule

    def _backward(self, inputs: Inputs, labels: np.ndarray, seed: int) -> Tensor:
        device, micro_batches = self.model.device, self.micro_batches(inputs, seed)
        self._optimizer.native.zero_grad(set_to_none=True)  # of a step that has failed
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            if inputs.shards:
                return self._backward_together(inputs, labels, seed)
            if len(micro_batches) > 1:
                return self._backward_in_micro_batches(micro_batches, labels)
            loss = self._loss(self._forward(inputs, seed), labels)
        loss.backward()
        return loss.detach()

    def _backward_in_micro_batches(self, micro_batches: Sequence[tuple[Inputs, int]], labels: np.ndarray) -> Tensor:
        statistics = {name: buffer.clone() for name, buffer in self.model.native.named_buffers()}
        with torch.no_grad():
            found = [self._forward(*micro_batch) for micro_batch in micro_batches]
        for name, buffer in self.model.native.named_buffers():
            buffer.copy_(statistics[name])
        logits = [torch.cat([z for _, z in parts]).requires_grad_() for parts in zip(*found, strict=True)]
        loss = self._loss([(weight, z) for (weight, _), z in zip(found[0], logits, strict=True)], labels)
        loss.backward()
        at = 0
        for micro_batch, seed in micro_batches:
            ends = [z for _, z in self._forward(micro_batch, seed)]
            torch.autograd.backward(ends, [z.grad[at : at + len(micro_batch)] for z in logits if z.grad is not None])
            at += len(micro_batch)
        return loss.detach()

    def _backward_together(self, inputs: Inputs, labels: np.ndarray, seed: int) -> Tensor:
        """The loss of the whole batch, in every process, and its gradients, summed over the processes."""
        distributed = joined()
        assert isinstance(distributed, TorchDistributedContext)
        torch.manual_seed(seed + (distributed.rank << 32))
        if inputs.after not in self._parallel:
            self._parallel = {inputs.after: parallel(self.model)}
        with others():
            outputs = self._parallel[inputs.after](inputs.padded())
            loss = self._loss([(weight, distributed.rows(logits, inputs.shards)) for weight, logits in outputs], labels)
            (loss * distributed.size).backward()  # what follows takes the mean over processes
        return loss.detach()

    def _forward(self, inputs: Inputs, seed: int) -> list[tuple[float, Tensor]]:
        torch.manual_seed(seed)
        return self.model.forward(inputs)

    def _loss(self, outputs: Iterable[tuple[float, Tensor]], labels: np.ndarray) -> Tensor:
        return torch.stack([weight * loss_of(self.loss, logits, labels) for weight, logits in outputs]).sum()
