"""Stepper on PyTorch."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from xfer.models.stepper import Stepper
from xfer.specs.inputs import Inputs
from xfer.specs.update import UpdateSpec
from xfer_torch.distributed import TorchDistributedContext, joined, others, parallel
from xfer_torch.loss import loss_of
from xfer_torch.model import TorchModel, to_numpy
from xfer_torch.norm import SharedBatchNorm
from xfer_torch.optimizer import Optimizer

Outputs = list[tuple[float, Tensor]]
_generators = threading.RLock()  # torch has one of a kind for all threads


class TorchStepper(Stepper):
    """Autograd and `torch.optim` for the tensors that are trainable at the moment."""

    model: TorchModel
    optimizer: Optimizer

    def __init__(self, model: TorchModel, update: UpdateSpec) -> None:
        super().__init__(model, update)
        self._parallel: dict[str | None, DistributedDataParallel] = {}
        self._live_norm = False
        self._live_buffers: list[Tensor] = []
        self._kept: list[Tensor] = []

    def rebuild(self, blocks: Mapping[str, Sequence[str]], start: Mapping[str, np.ndarray]) -> None:
        self._parallel = {}
        self.model.set_training(True)
        modules = [module for module in self.model.native.modules() if module.training]
        self._live_norm = any(isinstance(module, _BatchNorm) for module in modules)
        self._live_buffers = [buffer for module in modules for buffer in module.buffers(recurse=False)]
        self._kept = [torch.empty_like(buffer) for buffer in self._live_buffers]
        self.model.set_training(False)
        tensors = self.model.tensors()
        self.optimizer = Optimizer(
            self.update, {b: {name: tensors[name] for name in names} for b, names in blocks.items()}, start
        )

    def statistics(self) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self.model.native.named_buffers()}

    def restore(self, statistics: Mapping[str, Tensor]) -> None:
        for name, buffer in self.model.native.named_buffers():
            buffer.copy_(statistics[name])

    def train_step(self, inputs: Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int) -> float:
        _copy(self._live_buffers, self._kept)
        try:
            loss = self.optimizer.update(self._backward(inputs, labels, seed), rates, self._statistics())
        except ValueError as error:
            if not _undefined(error):
                raise
            loss = math.nan
        if math.isnan(loss):
            _copy(self._kept, self._live_buffers)
        return loss

    def compute_gradients(self, inputs: Inputs, labels: np.ndarray, seed: int) -> None:
        self._backward(inputs, labels, seed)

    def forward(self, inputs: Inputs, seed: int) -> Outputs:
        with torch.no_grad(), self._seeded(seed):
            try:
                return self.model.forward(inputs)
            except ValueError as error:
                if not _undefined(error):
                    raise
                return [(1.0, torch.full((len(inputs), len(self.model.classes)), math.nan, device=self.model.device))]

    def loss_gradients(self, outputs: Sequence[Outputs], labels: np.ndarray) -> tuple[Tensor, list[list[Tensor]]]:
        weights = [weight for weight, _ in outputs[0]]
        logits = [torch.cat([z for _, z in parts]).requires_grad_() for parts in zip(*outputs, strict=True)]
        loss = self._loss(zip(weights, logits, strict=True), labels)
        sizes = [len(each[0][1]) for each in outputs]
        gradients = torch.autograd.grad(loss, logits)
        return loss.detach(), [list(parts) for parts in zip(*(g.split(sizes) for g in gradients), strict=True)]

    def backward(self, inputs: Inputs, seed: int, at_outputs: Sequence[Tensor], total: bool | None) -> bool:
        if total is None:
            self.optimizer.native.zero_grad(set_to_none=True)
        with self._seeded(seed):
            ends = [z for _, z in self.model.forward(inputs)]
        torch.autograd.backward(ends, list(at_outputs))
        return True

    def apply_gradients(
        self, loss: Tensor, gradients: object, rates: Mapping[str, float], statistics: Mapping[str, Tensor]
    ) -> float:
        found = self.optimizer.update(loss, rates, self._statistics())
        if math.isnan(found):
            self.restore(statistics)
        return found

    def read_gradients(self, gradients: object) -> dict[str, np.ndarray]:
        found = {
            name: to_numpy(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)
            for name, tensor in self.optimizer.tensors.items()
        }
        self.optimizer.native.zero_grad(set_to_none=True)
        return found

    def _backward(self, inputs: Inputs, labels: np.ndarray, seed: int) -> Tensor:
        """The loss; gradients are left in the tensors."""
        self.optimizer.native.zero_grad(set_to_none=True)  # of a step that has failed
        if inputs.shards:
            return self._backward_together(inputs, labels, seed)
        with self._seeded(seed):
            loss = self._loss(self.model.forward(inputs), labels)
        loss.backward()
        return loss.detach()

    def _backward_together(self, inputs: Inputs, labels: np.ndarray, seed: int) -> Tensor:
        """The loss of the whole batch, in every process, and its gradients, summed over the processes."""
        context = joined()
        assert isinstance(context, TorchDistributedContext)
        with self._seeded(seed + (context.rank << 32)):
            if inputs.after not in self._parallel:
                self._parallel = {inputs.after: parallel(self.model)}
            with others():
                with SharedBatchNorm(inputs.shards, context.rank), self._uncompiled():
                    outputs = self._parallel[inputs.after](inputs.padded())
                loss = self._loss([(weight, context.rows(logits, inputs.shards)) for weight, logits in outputs], labels)
                (loss * context.size).backward()  # what follows takes the mean over processes
        return loss.detach()

    def _uncompiled(self) -> AbstractContextManager[object]:
        """Without the compiler where batch normalisation is trained, for it compiles no exchange between processes."""
        if self._live_norm and self.model.spec.compile:
            return torch.compiler.set_stance("force_eager")
        return nullcontext()

    def _statistics(self) -> list[Tensor]:
        return [buffer for buffer in self._live_buffers if buffer.is_floating_point()]

    @contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """Torch's generators for this thread alone, seeded; the user's state of them stays as it is."""
        device = self.model.device
        with _generators, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def _loss(self, outputs: Iterable[tuple[float, Tensor]], labels: np.ndarray) -> Tensor:
        return torch.stack([weight * loss_of(self.update.loss, logits, labels) for weight, logits in outputs]).sum()


def _undefined(error: ValueError) -> bool:
    """Whether batch normalisation refuses a batch because it has one value a channel."""
    return "more than 1 value per channel" in str(error)


def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
    """One kernel for many tensors of a type, where a copy of each by itself costs a GPU more than the copying."""
    if sources:
        with torch.no_grad():
            torch._foreach_copy_(targets, sources)
