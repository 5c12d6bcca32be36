"""Linear layers of frozen passes by oneDNN, in float32 on a CPU.

torch.nn.Linear calls MKL's sgemm, where torch's convolutions and TensorFlow call oneDNN. By `benchmarks/frozen_pass.py`
oneDNN is faster on matrices of every size that was tried, on AMD's CPUs. The weights are the network's own tensors as
they are: a copy in oneDNN's own layout would save 3 to 6 percent more, but take their memory again, and have to follow
every change of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

NAME = "oneDNN linear"

# What torch.compile calls for a linear layer; not part of torch's public interface, and oneDNN is not in every build.
_KERNEL = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
AVAILABLE = _KERNEL is not None

# Options of torch.nn.functional.multi_head_attention_forward without a mask that does not return attention weights.
_WITHOUT_MASK = {
    **dict.fromkeys(("training", "need_weights", "is_causal", "use_separate_proj_weight"), False),
    **dict.fromkeys(("key_padding_mask", "attn_mask", "static_k", "static_v")),
    **dict.fromkeys(("q_proj_weight", "k_proj_weight", "v_proj_weight")),
    "average_attn_weights": True,
}


_REPLACED = (functional.linear, functional.multi_head_attention_forward)


class OneDnnLinear(TorchFunctionMode):
    """A context in which linear layers, and the self-attention of torch.nn.MultiheadAttention, run oneDNN's kernel.

    What the kernel does not take, such as another dtype or device, is left to torch, and so is a network that
    torch.compile compiles. Results have no gradient.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What `func` returns, rounded otherwise."""
        options = kwargs or {}
        if func not in _REPLACED or torch.compiler.is_compiling():
            return func(*args, **options)
        if func is functional.linear:
            return linear(*args, **options)
        if options == _WITHOUT_MASK and _is_self_attention(*args):
            return _self_attention(*args), None
        return func(*args, **options)


def has_linear(module: nn.Module) -> bool:
    """Whether there is something in a module for `OneDnnLinear`, which makes each call of torch a little slower."""
    return any(isinstance(part, nn.Linear | nn.MultiheadAttention) for part in module.modules())


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """torch.nn.functional.linear: (..., I) and a weight (O, I) to (..., O)."""
    if not all(_is_plain(each) for each in (input, weight, bias) if each is not None):
        return functional.linear(input, weight, bias)
    assert _KERNEL is not None
    found: Tensor = _KERNEL(input, weight, bias, "none", [], "")
    return found


def _is_plain(tensor: Tensor) -> bool:
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and tensor.layout == torch.strided
    )


def _is_self_attention(query: Tensor, key: Tensor, value: Tensor, *others: Any) -> bool:
    _, _, weight, _, bias_k, bias_v, add_zero, *_ = others
    one_input = query is key is value and query.ndim == 3 and weight is not None
    return one_input and bias_k is None and bias_v is None and not add_zero


def _self_attention(query: Tensor, key: Tensor, value: Tensor, width: int, heads: int, *others: Any) -> Tensor:
    """(L, N, D) to (L, N, D)."""
    weight, bias, _, _, _, _, out_weight, out_bias = others
    parts = linear(query.transpose(0, 1), weight, bias).unflatten(2, (3, heads, -1))
    x = functional.scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4).unbind(0))
    return linear(x.transpose(1, 2).flatten(2), out_weight, out_bias).transpose(0, 1)
