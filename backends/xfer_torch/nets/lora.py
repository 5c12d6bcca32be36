"""LoRA adapters of torch's linear layers (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torchvision.models.swin_transformer import ShiftedWindowAttention

from xfer.specs.lora import ADAPTERS, Lora


class LoraLinear(nn.Linear):
    """W x + b + scale B A x."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return super().forward(input) + self.scale * linear(linear(input, self.lora_A), self.lora_B)


class LoraWeightLinear(nn.Linear):
    """A linear layer whose weight another module reads, which is W + scale B A here."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """(out, in)."""
        return _updated(self, "weight")


class LoraAttention(nn.MultiheadAttention):
    """Attention whose queries, keys and values have one adapter, that of their joined matrix."""

    @property
    def in_proj_weight(self) -> Tensor:
        """(3 D, D)."""
        return _updated(self, "in_proj_weight")


def _updated(module: nn.Module, name: str) -> Tensor:
    weight = module._parameters[name]
    assert weight is not None
    return torch.addmm(weight, module.lora_B, module.lora_A, alpha=module.scale)


def attach(net: nn.Module, lora: Lora) -> None:
    """Give modules of a network adapters of zeros; they stay the same objects, of another class."""
    read = _read_by_others(net)
    for weight in lora.weights:
        name = weight.rpartition(".")[0]
        module = net.get_submodule(name)
        kind: Any = LoraAttention if isinstance(module, nn.MultiheadAttention) else LoraLinear
        kept = module._parameters[weight.rpartition(".")[2]]
        assert kept is not None
        shapes = ((lora.rank, kept.shape[1]), (kept.shape[0], lora.rank))
        for part, shape in zip(ADAPTERS, shapes, strict=True):
            module.register_parameter(part, nn.Parameter(kept.new_zeros(shape)))
        module.scale, module.without_lora = lora.scale, type(module)
        module.__class__ = LoraWeightLinear if name in read else kind


def detach(net: nn.Module) -> None:
    """Take all adapters away."""
    for module in net.modules():
        if isinstance(module, LoraLinear | LoraWeightLinear | LoraAttention):
            module.__class__ = module.without_lora
            for name in (*ADAPTERS, "scale", "without_lora"):
                delattr(module, name)


def _read_by_others(net: nn.Module) -> set[str]:
    """Names of linear layers that attention computes with by their weights, without calling them."""
    found = set[str]()
    for name, module in net.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            found.add(f"{name}.out_proj")
        elif isinstance(module, ShiftedWindowAttention):
            found |= {f"{name}.qkv", f"{name}.proj"}
    return found
