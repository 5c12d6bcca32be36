"""BaseModel around any module of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xfer.errors import UsageError
from xfer.models.engine import Engine
from xfer.models.spec import Description, ModelSpec
from xfer.specs.inputs import Inputs
from xfer.specs.preprocessing import Preprocessing
from xfer_torch.model import TorchModel, to_numpy
from xfer_torch.nets.head import build_heads
from xfer_torch.nets.layers import Undrawn


class WrappedModel(TorchModel):
    """A user's module, run as a whole; outputs inside it are caught by hooks."""

    def __init__(self, backend: Engine, spec: ModelSpec, native: nn.Module) -> None:
        self.native = native
        super().__init__(backend, spec)

    def build(self) -> None:
        self.native.to(device=self.device, dtype=self.dtype)
        self._parts = {name: self.native.get_submodule(name) for name in self.card.blocks}
        self._parts["head"] = self.native.get_submodule(self.card.head)
        self.native.eval()
        self._training = False

    def build_head(self) -> None:
        with torch.device(self.device), Undrawn():
            head = build_heads(self.spec)
        self.native.set_submodule(self.card.head, head.to(dtype=self.dtype))
        self._parts["head"] = head
        self.native.eval()
        self._training = False

    @property
    def entries(self) -> tuple[str, ...]:
        """Only the head is known to follow on another layer; columns would need it apart."""
        return ("features",)

    def run(self, inputs: Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        self.set_training(False)
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            return lambda module, inputs, output: found.update({name: output})

        hooks = [self._parts[name].register_forward_hook(keep(name)) for name in stages if name in self.card.blocks]
        hooks += [self._parts["head"].register_forward_hook(lambda module, inputs, _: found.update(features=inputs[0]))]
        try:
            with torch.inference_mode(), self.autocast():
                x = self.enter(inputs)
                found["input"] = x
                found["head"] = self._parts["head"](x) if inputs.after else self._logits(x)
        finally:
            for hook in hooks:
                hook.remove()
        return {name: self._array(found[name]) for name in stages}

    def forward(self, inputs: Inputs) -> list[tuple[float, Tensor]]:
        """Logits (N, K) on the device as training sees them, with the weight of their loss."""
        self.set_training(True)
        with self.autocast():
            x = self.enter(inputs)
            return [(1.0, (self._parts["head"](x) if inputs.after else self._logits(x)).to(self.dtype))]

    def set_training(self, training: bool) -> None:
        super().set_training(training)
        self.native.training = training and any(self.card.block_of(name) != "head" for name in self.trainable)

    def parts(self) -> list[nn.Module]:
        """Blocks and the head."""
        return list(self._parts.values())

    def _logits(self, x: Tensor) -> Tensor:
        logits = self.native(x)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            given = f"of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise UsageError(f"{self.name} returned a {given}: expected a tensor of logits (N, {len(self.classes)})")
        return logits

    def _array(self, x: Tensor) -> np.ndarray:
        return to_numpy(x.permute(0, 2, 3, 1) if x.ndim == 4 else x, self.dtype)


def describe(native: Any, head: str) -> Description:
    """What `xfer.wrap` needs to know of a module."""
    if not isinstance(native, nn.Module):
        raise UsageError(f"a {type(native).__name__} is no torch.nn.Module: give the network itself")
    modules = dict(native.named_modules())
    if head not in modules or not head:
        children = ", ".join(name for name, _ in native.named_children())
        raise UsageError(f"{type(native).__name__} has no module {head!r} for a head: its children are {children}")
    linear = [name for name, module in modules[head].named_modules(prefix=head) if isinstance(module, nn.Linear)]
    if not linear:
        raise UsageError(f"head {head!r} is a {type(modules[head]).__name__} without a linear layer: name that layer")
    last = modules[linear[-1]]
    assert isinstance(last, nn.Linear)
    return Description(
        name=type(native).__name__,
        blocks=_blocks(native, linear[-1]),
        head=linear[-1],
        feature_dim=last.in_features,
        classes=last.out_features,
        parameters=sum(parameter.numel() for parameter in native.parameters()),
        precision="fp64" if last.weight.dtype == torch.float64 else "fp32",
        preprocessing=_timm(native),
    )


def _blocks(native: nn.Module, head: str) -> dict[str, tuple[str, ...]]:
    """A block a child, in order of registration; tensors outside of any child belong to the first."""
    names = _children(native, head)
    if not names:
        raise UsageError(f"{type(native).__name__} has no layers but its head: nothing to transfer")
    alone = [n for n, _ in native.named_parameters() if not any(n.startswith(f"{x}.") for x in (*names, head))]
    return {names[0]: (names[0], *alone)} | {name: (name,) for name in names[1:]}


def _children(module: nn.Module, head: str, prefix: str = "") -> list[str]:
    """Children with weights; those of sequences, and of what holds the head, one by one."""
    found: list[str] = []
    for name, child in module.named_children():
        path = prefix + name
        if path == head or not any(True for _ in child.parameters()):
            continue
        if isinstance(child, nn.Sequential | nn.ModuleList) or head.startswith(path + "."):
            found += _children(child, head, path + ".")
        else:
            found.append(path)
    return found


def _timm(native: nn.Module) -> Preprocessing | None:
    """The preprocessing that a network of timm says it was trained for."""
    config = getattr(native, "pretrained_cfg", None)
    if not isinstance(config, dict) or "input_size" not in config:
        return None
    size = int(config["input_size"][-1])
    return Preprocessing(
        size,
        int(size / config.get("crop_pct", 1.0)),
        "bicubic" if config.get("interpolation") == "bicubic" else "bilinear",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
