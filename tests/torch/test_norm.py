"""Batch normalisation of a batch that several processes share, against torch's own on the whole batch."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from xfer_torch import norm
from xfer_torch.norm import SharedBatchNorm, unsynchronised


class Threads:
    """torch.distributed between threads, each of which is a process."""

    def __init__(self, size):
        self.barrier, self.given, self.here = threading.Barrier(size), [None] * size, threading.local()

    def _exchanged(self, tensor):
        self.given[self.here.rank] = tensor.clone()
        self.barrier.wait(20)
        found = list(self.given)
        self.barrier.wait(20)
        return found

    def all_gather(self, parts, own):
        for part, found in zip(parts, self._exchanged(own), strict=True):
            part.copy_(found)

    def all_reduce(self, tensor):
        tensor.copy_(torch.stack(self._exchanged(tensor)).sum(0))


def shared(monkeypatch, layer, x, dy, shards):
    """What the layer makes of each share, and the gradients at it: (y, dx, layer) by rank."""
    threads = Threads(len(shards))
    monkeypatch.setattr(norm, "dist", threads)

    def one(rank):
        threads.here.rank, first = rank, sum(shards[:rank])
        own, at_own = (each[first : first + shards[rank]] for each in (x, dy))
        if not len(own):  # one blank sample in place of none
            own, at_own = torch.ones_like(x[:1]), torch.zeros_like(x[:1])
        mine, own = copy.deepcopy(layer), own.detach().clone().requires_grad_()
        try:
            for _ in range(2):
                with SharedBatchNorm(shards, rank):
                    y = mine(own)
            y.backward(at_own)
        except BaseException:
            threads.barrier.abort()
            raise
        return y.detach()[: shards[rank]], own.grad, mine

    with ThreadPoolExecutor(len(shards)) as pool:
        return list(pool.map(one, range(len(shards))))


@pytest.mark.parametrize(
    ("kind", "shape", "options"),
    [
        (nn.BatchNorm1d, (5,), {}),
        (nn.BatchNorm1d, (5, 4), {"momentum": None}),
        (nn.BatchNorm2d, (5, 3, 4), {}),
        (nn.BatchNorm2d, (5, 3, 4), {"affine": False}),
        (nn.BatchNorm2d, (5, 3, 4), {"track_running_stats": False, "eps": 0.1}),
        (nn.BatchNorm3d, (5, 2, 3, 2), {"momentum": 0.7}),
    ],
)
@pytest.mark.parametrize("shards", [(3, 2, 2), (4, 0), (0, 1, 1)])
def test_it_is_that_of_the_whole_batch(monkeypatch, kind, shape, options, shards):
    """Outputs, gradients, running statistics: uneven shares and empty ones, a mean far from 0."""
    torch.manual_seed(0)
    x, dy = torch.randn(sum(shards), *shape).double() + 1000, torch.randn(sum(shards), *shape).double()
    layer = kind(shape[0], **options).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    found = shared(monkeypatch, layer, x, dy, shards)
    whole, x = copy.deepcopy(layer), x.requires_grad_()
    for _ in range(2):
        y = whole(x)
    y.backward(dy)

    def check(mine, theirs):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)

    check(torch.cat([y for y, _, _ in found]), y.detach())
    check(torch.cat([dx[:number] for (_, dx, _), number in zip(found, shards, strict=True)]), x.grad)
    for name, parameter in whole.named_parameters():
        check(sum(mine.get_parameter(name).grad for _, _, mine in found), parameter.grad)
    for _, _, mine in found:
        for name, buffer in whole.named_buffers():
            check(mine.get_buffer(name), buffer)
    for (_, dx, _), number in zip(found, shards, strict=True):
        assert number or not dx.any(), "a blank sample counts as nothing"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions(monkeypatch, dtype):
    """As under autocast: weights and statistics are float32."""
    torch.manual_seed(0)
    x, layer = torch.randn(6, 4, 5, 5).to(dtype), nn.BatchNorm2d(4)
    found = shared(monkeypatch, layer, x, torch.ones_like(x), (4, 2))
    for _ in range(2):
        expected = layer(x)
    mine = torch.cat([y for y, _, _ in found])
    assert mine.dtype == expected.dtype == dtype
    torch.testing.assert_close(mine, expected.detach(), rtol=1e-2, atol=1e-2 if dtype == torch.bfloat16 else 1e-5)
    torch.testing.assert_close(found[0][2].running_var, layer.running_var, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shards", [(1, 0), (0, 1)])
def test_one_value_a_channel_is_refused_by_all(monkeypatch, shards):
    """Also by a process that has none; one value in each of two processes is not refused."""
    for rank in (0, 1):
        with SharedBatchNorm(shards, rank), pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            nn.BatchNorm1d(3)(torch.ones(1, 3))
    found = shared(monkeypatch, nn.BatchNorm1d(3), torch.randn(2, 3), torch.ones(2, 3), (1, 1))
    assert torch.isfinite(found[0][0]).all()


def test_in_inference_it_is_left_to_torch():
    layer, x = nn.BatchNorm2d(3).eval(), torch.randn(2, 3, 4, 4)
    with SharedBatchNorm((2, 2), 0):
        torch.testing.assert_close(layer(x), layer(x), rtol=0, atol=0)


def test_layers_that_it_does_not_reach():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.SyncBatchNorm(3), nn.InstanceNorm2d(3, track_running_stats=True))
    assert unsynchronised(net, ["0", "1", "2"]) == ["1", "2"]
