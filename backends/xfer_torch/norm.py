"""Batch normalisation over a batch that several processes share.

torch.nn.SyncBatchNorm does the same on GPUs alone, in networks that were converted to it, and counts what an empty
share is padded with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode


class SharedBatchNorm(TorchFunctionMode):
    """A context in which `torch.nn.functional.batch_norm` in training sees the whole batch.

    BatchNorm1d, 2d and 3d call it, and so do layers that are derived from them, such as timm's. Mean and variance are
    those of all processes together, forward and backward, and so are running statistics, with torch's own rule.

    Args:
        shards: how many samples each process has, by rank.
        rank: of this process. If it has none, what it computes counts as nothing.
    """

    def __init__(self, shards: Sequence[int], rank: int) -> None:
        super().__init__()
        self._shards, self._rank = shards, rank

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What `func` returns."""
        return (self._normalised if func is functional.batch_norm else func)(*args, **(kwargs or {}))

    def _normalised(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """(N, C, ...) of this process."""
        if not training:
            return functional.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
        values = x.numel() // x.shape[1] // max(self._shards[self._rank], 1)  # a channel has in one sample
        counts = [values * samples for samples in self._shards]
        if sum(counts) == 1:  # as torch says it
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
        mean, var = _statistics(x.detach(), counts, self._rank)
        if running_mean is not None and running_var is not None:
            unbiased = var * (sum(counts) / (sum(counts) - 1))
            for running, found in ((running_mean, mean), (running_var, unbiased)):
                running.mul_(1 - momentum).add_(found, alpha=momentum)
        found: Tensor = _Normalise.apply(x, weight, bias, mean, var, eps, counts, self._rank)
        return found


class BiasedVariance(TorchFunctionMode):
    """A context in which running variances are biased, as Keras keeps them: those of `SharedBatchNorm` are not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What `func` returns."""
        return (_biased if func is functional.batch_norm else func)(*args, **(kwargs or {}))


def _biased(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training or running_var is None:
        return functional.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    share = torch.zeros_like(running_var)  # becomes momentum times the unbiased variance of the batch
    found = functional.batch_norm(x, running_mean, share, weight, bias, True, momentum, eps)
    count = x.numel() // x.shape[1]
    with torch.no_grad():
        running_var.mul_(1 - momentum).add_(share, alpha=(count - 1) / count)
    return found


def unsynchronised(native: nn.Module, layers: Iterable[str]) -> list[str]:
    """Those of the layers that `SharedBatchNorm` does not reach."""
    found = {name: native.get_submodule(name) for name in layers}
    return [name for name, m in found.items() if not isinstance(m, _BatchNorm) or isinstance(m, nn.SyncBatchNorm)]


@torch.no_grad()
def _statistics(x: Tensor, counts: Sequence[int], rank: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (C,) of all processes (Chan et al. 1983), at least in float32.

    Squares are summed about the mean of each process: the mean of squares less the square of the mean would lose the
    digits of a variance that is small beside the mean.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    var, mean = torch.var_mean(x, [0, *range(2, x.ndim)], correction=0)
    own = torch.stack([mean, var]) if counts[rank] else x.new_zeros(2, x.shape[1])
    parts = [torch.empty_like(own) for _ in counts]
    dist.all_gather(parts, own)
    means, variances = torch.stack(parts).unbind(1)
    shares = x.new_tensor(counts).div_(sum(counts))[:, None]
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias, where mean and var depend on the x of all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        eps: float,
        counts: Sequence[int],
        rank: int,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.counts, ctx.rank = eps, counts, rank
        return functional.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        # With mean and var as constants; the gradients of weight and bias are also the sums that the rest needs.
        dx, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        if ctx.needs_input_grad[0]:
            dx = _less_means(ctx, dx, torch.stack([d_bias, d_weight]))
        return dx, None if weight is None else d_weight, None if weight is None else d_bias, *[None] * 5


def _less_means(ctx: Any, dx: Tensor, sums: Tensor) -> Tensor:
    """The gradient at x, from that with mean and var as constants, less what goes through them."""
    x, weight, mean, var = ctx.saved_tensors
    dist.all_reduce(sums)
    if not ctx.counts[ctx.rank]:
        return torch.zeros_like(dx)
    scale, shape = torch.rsqrt(var + ctx.eps), (-1, *[1] * (x.ndim - 2))
    by_mean, by_std = sums / sum(ctx.counts) * (scale if weight is None else scale * weight)
    return dx - (by_mean.view(shape) + (x - mean.view(shape)) * (by_std * scale).view(shape)).to(dx)
