"""BaseModel on PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import StochasticDepth

from xfer.models.base_model import BaseModel
from xfer.models.drop_rates import Kind
from xfer.models.engine import Engine
from xfer.models.network import STATISTICS
from xfer.models.spec import ModelSpec
from xfer.specs.inputs import Inputs
from xfer_torch.linear import OneDnnLinear, has_linear
from xfer_torch.nets import lora, numerics
from xfer_torch.nets.families import FAMILIES
from xfer_torch.nets.head import build_heads
from xfer_torch.nets.layers import MeanPlace, Undrawn
from xfer_torch.norm import BiasedVariance


class TorchModel(BaseModel):
    """A torchvision module in channels_last layout, run stage by stage."""

    def __init__(self, backend: Engine, spec: ModelSpec) -> None:
        super().__init__(backend, spec)
        self._modes: list[tuple[nn.Module, bool]] | None = None
        self._training = False
        self.device = torch.device(spec.device)
        self.dtype = torch.float64 if spec.precision == "fp64" else torch.float32
        self._mean = torch.tensor(spec.preprocessing.mean, dtype=self.dtype, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(spec.preprocessing.std, dtype=self.dtype, device=self.device).view(3, 1, 1)
        self.build()

    def build(self) -> None:
        """Make the network and its stages, with undefined weights."""
        with torch.device(self.device), Undrawn():
            self.native, self.stages = FAMILIES[self.card.family](self.card)
        numerics.apply([self.native, *self.stages.values()], self.spec.numerics)
        self._with_linear = {name for name, stage in self.stages.items() if has_linear(stage)}
        self._built_rates = {m: m.p for m in self.native.modules() if isinstance(m, nn.Dropout | StochasticDepth)}
        self.native.to(dtype=self.dtype, memory_format=torch.channels_last)
        self._fast = self._to_compile()
        self.build_head()
        if self.spec.lora is not None:
            self.build_lora()

    def build_head(self) -> None:
        classes = len(self.classes)
        with torch.device(self.device), Undrawn():
            head = build_heads(self.spec)
            numerics.apply([head], self.spec.numerics)
            last = {branch.head: nn.Linear(branch.feature_dim, classes) for branch in self.card.auxiliary}
        for name, module in {self.card.head: head, **last}.items():
            self.native.set_submodule(name, module.to(dtype=self.dtype, memory_format=torch.channels_last))
        self.stages["head"] = nn.Sequential(head, nn.ReLU(), MeanPlace()) if self.card.head_per_place else head
        self._branches = {b.after: (b.weight, self.native.get_submodule(b.name)) for b in self.card.auxiliary}
        self.apply_drop_rates()
        self._modes = None

    def build_lora(self) -> None:
        lora.detach(self.native)
        if self.spec.lora is not None:
            lora.attach(self.native, self.spec.lora)
        self._fast = self._to_compile()
        self._modes = None

    def _to_compile(self) -> dict[str, nn.Module]:
        """The stages below the head, compiled when they are called, if the spec says so."""
        if not self.spec.compile:
            return {}
        # For batches of any size, because the last of an epoch is smaller.
        stages = {name: stage for name, stage in self.stages.items() if name != "head"}
        return {name: torch.compile(stage, dynamic=True) for name, stage in stages.items()}  # type: ignore[misc]

    def apply_drop_rates(self) -> None:
        for module, built in self._built_rates.items():
            kind: Kind = "dropout" if isinstance(module, nn.Dropout) else "stochastic_depth"
            module.p = self.drop_rates.of_layer(self.card, kind, built, self.spec.dropout)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors().items()}

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        tensors = self.tensors()
        return {name: to_numpy(tensors[name]) for name in names}

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        tensors = self.tensors()
        with torch.no_grad():
            for name, array in arrays.items():
                tensors[name].copy_(torch.from_numpy(np.asarray(array, order="C")))

    def apply_trainable(self) -> None:
        for name, parameter in self.native.named_parameters():
            parameter.requires_grad_(name in self.trainable)
        self._modes = None
        self.set_training(False)

    def apply_precision(self) -> None:
        """Nothing to do: every pass asks `autocast`."""

    def run(self, inputs: Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        self.set_training(False)
        found: dict[str, np.ndarray] = {}
        with torch.inference_mode():
            x, columns = self.enter(inputs), self._columns(inputs)
            for name, stage in {"input": nn.Identity(), **self.steps(inputs.after)}.items():
                x = self._through(name, stage, x, columns, frozen=True)
                if name in stages:
                    found[name] = self._array(x)
                if len(found) == len(set(stages)):
                    break
        return {name: found[name] for name in stages}

    def run_gradient(self, inputs: Inputs, block: str, at_logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.set_training(False)
        steps = iter(self.steps(inputs.after).items())
        with torch.no_grad():
            x, columns = self.enter(inputs), self._columns(inputs)
            for name, stage in steps:
                x = self._eagerly(name, stage, x, columns, frozen=True)
                if name == block:
                    break
        at = x.detach().requires_grad_()
        x = at.clone()  # the next layer may change it in place
        for name, stage in steps:
            x = self._eagerly(name, stage, x, columns, frozen=False)
        (gradient,) = torch.autograd.grad(x, at, self._moved(at_logits))
        return self._array(at), self._array(gradient)

    def forward(self, inputs: Inputs) -> list[tuple[float, Tensor]]:
        """Logits (N, K) on the device as training sees them, each with the weight of its loss, the head's last.

        The graph begins at the first trainable stage.
        """
        self.set_training(True)
        with BiasedVariance() if self.spec.numerics.norm_variance == "biased" else nullcontext():
            return self._forward(inputs)

    def _forward(self, inputs: Inputs) -> list[tuple[float, Tensor]]:
        outputs: list[tuple[float, Tensor]] = []
        with torch.no_grad():
            x, columns = self.enter(inputs), self._columns(inputs)
        live = False
        for name, stage in self.steps(inputs.after).items():
            live = live or self._has_trainable(stage)
            with nullcontext() if live else torch.no_grad():
                x = self._through(name, stage, x, columns, frozen=not live)
            weight, branch = self._branches.get(name, (0.0, None))
            if branch is not None and self._has_trainable(branch):
                with self.autocast():  # not compiled: `_fast` has the stages
                    outputs.append((weight, branch(x).to(self.dtype)))
        return [*outputs, (1.0, x)]

    def steps(self, after: str | None) -> dict[str, nn.Module]:
        """The stages that run on outputs of `after`, or on images, by name."""
        return {name: self.stages[name] for name in self.stages_after(after)}

    def tensors(self) -> dict[str, Tensor]:
        """The native parameters and statistics by canonical name, in forward order."""
        state = self.native.state_dict(keep_vars=True)
        return {k: v for k, v in state.items() if isinstance(v, nn.Parameter) or k.endswith(STATISTICS)}

    def set_training(self, training: bool) -> None:
        """Put every module into the mode that `apply_trainable` promises for training, or into inference mode."""
        if self._modes is None:
            self._modes = self.modes()
        self._training = training
        for module, live in self._modes:
            if module.training != (training and live):  # also what the user has set in the meantime
                module.training = training and live

    def modes(self) -> list[tuple[nn.Module, bool]]:
        """All modules, and whether each is in training mode while the model is trained."""
        live: dict[nn.Module, bool] = dict.fromkeys(self.native.modules(), False)
        for part in (*self.stages.values(), *(branch for _, branch in self._branches.values())):
            trained = self._has_trainable(part)
            for module in part.modules():
                frozen_norm = isinstance(module, _BatchNorm) and not self._has_trainable(module)
                live[module] = trained and not frozen_norm
        return list(live.items())

    def normalise(self, images: np.ndarray) -> Tensor:
        """uint8 (N, S, S, 3) on the host to normalised (N, 3, S, S) on the device, channels_last."""
        pixels = torch.from_numpy(np.ascontiguousarray(images))
        if self.device.type == "cuda":  # from pinned memory the copy runs beside what the GPU still computes
            pixels = pixels.pin_memory()
        pixels = pixels.to(self.device, non_blocking=self.device.type == "cuda").permute(0, 3, 1, 2)
        return (pixels.to(self.dtype) / 255 - self._mean) / self._std

    def enter(self, inputs: Inputs) -> Tensor:
        """What the first stage reads, on the device."""
        if inputs.after is None:
            return self.normalise(inputs.values)
        x = self._moved(inputs.values)
        return x.permute(0, 3, 1, 2) if x.ndim == 4 else x

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which what comes before the head runs."""
        if self.spec.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def kernels(self, frozen: bool) -> AbstractContextManager[object]:
        """`autocast`, with faster kernels where no gradient is needed."""
        return OneDnnLinear() if frozen and self.backend.frozen_kernels(self.spec) else self.autocast()

    def _through(self, name: str, stage: nn.Module, x: Tensor, columns: Tensor | None, frozen: bool) -> Tensor:
        """What a stage makes of the one before, compiled where that was chosen."""
        if name in self._fast and self.compiled.get("training" if self._training else "inference"):
            with self.autocast():
                return self._fast[name](x)
        return self._eagerly(name, stage, x, columns, frozen)

    def _eagerly(self, name: str, stage: nn.Module, x: Tensor, columns: Tensor | None, frozen: bool) -> Tensor:
        """What a stage makes of the one before; the head computes in the precision of the weights."""
        if name == "head":
            return stage(joined(x.to(self.dtype), columns))
        with self.kernels(frozen and name in self._with_linear):
            return stage(x)

    def _columns(self, inputs: Inputs) -> Tensor | None:
        return None if inputs.columns is None else self._moved(inputs.columns)

    def _array(self, x: Tensor) -> np.ndarray:
        return to_numpy(x.permute(0, 2, 3, 1) if x.ndim == 4 else x, self.dtype)

    def _moved(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, self.dtype)

    @staticmethod
    def _has_trainable(module: nn.Module) -> bool:
        return any(parameter.requires_grad for parameter in module.parameters())


def joined(features: Tensor, columns: Tensor | None) -> Tensor:
    """What the head reads: features (N, D), with columns (N, C) behind them if there are any."""
    return features if columns is None else torch.cat([features, columns.to(features.dtype)], dim=1)


def to_numpy(tensor: Tensor, dtype: torch.dtype | None = None) -> np.ndarray:
    """A contiguous copy on the host."""
    return np.array(tensor.detach().to("cpu", dtype=dtype or tensor.dtype).contiguous().numpy())
