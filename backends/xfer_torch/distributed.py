"""The processes of a run, joined by torch.distributed."""

from __future__ import annotations

import atexit
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from xfer.errors import BackendError, DistributedError
from xfer.runtime.distributed import DistributedContext, launch_environment
from xfer.runtime.launcher import ignore_the_launcher, mind_the_launcher
from xfer.specs.inputs import Inputs
from xfer_torch.model import TorchModel

# A process that has ended is noticed at once, by its closed connections. This is for one that hangs, or a machine that
# is gone: longer than the slowest read of a batch, or write of a checkpoint, that the others wait for.
TIMEOUT = timedelta(minutes=30)

T = TypeVar("T")

_host: list[dist.ProcessGroup] = []  # for `gather` alone, so that nothing else keeps its threads; see `_leave`


class TorchDistributedContext(DistributedContext):
    """Several processes: NCCL between GPUs, gloo for everything else."""

    def exchange(self, thing: T) -> list[T]:
        found = [thing] * self.size
        with others():
            dist.all_gather_object(found, thing, _host[0])
        return found

    def rows(self, own: Tensor, shards: Sequence[int]) -> Tensor:
        """The rows (N, K) of all processes in the order of ranks; the graph is that of the own ones.

        Args:
            own: at least as many rows as this process has in `shards`; what is more is left out.
            shards: how many rows each process has.
        """
        padded = own.new_zeros((max(shards), *own.shape[1:]))
        padded[: shards[self.rank]] = own.detach()[: shards[self.rank]]
        found = [torch.empty_like(padded) for _ in shards]
        with others():
            dist.all_gather(found, padded)
        parts = [each[:number] for each, number in zip(found, shards, strict=True)]
        parts[self.rank] = own[: shards[self.rank]]
        return torch.cat(parts)


class Network(nn.Module):
    """`TorchModel.forward` as a module of what is trained, and of nothing that would be sent around for no purpose."""

    def __init__(self, model: TorchModel) -> None:
        super().__init__()
        self.trained = nn.ParameterList(each for each in model.native.parameters() if each.requires_grad)
        self._run = model.forward

    def forward(self, inputs: Inputs) -> list[tuple[float, Tensor]]:
        """See `TorchModel.forward`."""
        return self._run(inputs)


def parallel(model: TorchModel) -> DistributedDataParallel:
    """The network behind torch's own data parallelism, for the tensors that are trainable at the moment."""
    # An auxiliary classifier, or a layer of somebody else's network, may stand outside of the loss in every step.
    loose = bool(model.card.auxiliary) or model.card.family == "wrapped"
    with others():
        return DistributedDataParallel(Network(model), static_graph=loose)


@cache
def joined() -> DistributedContext:
    """The processes that the launcher started, from its environment; those of the user's own process group, if any."""
    if not dist.is_initialized():
        device = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        try:
            dist.init_process_group(device, timeout=TIMEOUT)
        except ValueError as error:
            raise BackendError(f"WORLD_SIZE={launch_environment().size}, but {error}: start with torchrun") from None
        except RuntimeError as error:
            raise DistributedError(f"the processes of this run do not find each other: {_sentence(error)}") from None
    with others():
        _host.append(dist.new_group(backend="gloo", timeout=TIMEOUT))
    atexit.register(_leave)
    mind_the_launcher()
    return TorchDistributedContext(dist.get_rank(), dist.get_world_size())


@contextmanager
def others() -> Iterator[None]:
    """Say in one line that another process has ended, where torch says how its connection broke."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
            raise
        ignore_the_launcher()
        raise DistributedError(f"another process of this run has ended ({_sentence(error)})") from None


def _sentence(error: Exception) -> str:
    """The first of an error's text, without the place in torch's sources."""
    return re.sub(r"^\[\S+:\d+\] ", "", str(error).strip().splitlines()[0]).partition(". ")[0]


def _leave() -> None:
    """End the threads of the last gather: one that lets go of its tensors after the interpreter aborts the process."""
    if dist.is_initialized():
        dist.destroy_process_group(_host.pop())
