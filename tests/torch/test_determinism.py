"""The same bits from each run on PyTorch."""

import numpy as np
import pytest
import torch

import xfer
from tests.suites.determinism import Determinism
from xfer.errors import DeviceError
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.rates import block_rates
from xfer.specs.update import UpdateSpec

IMAGES, LABELS = np.zeros((2, 16, 16, 3), np.uint8), np.array([0, 1])


class TestTorch(Determinism):
    backend = "torch"


class Place(torch.nn.Module):
    """A layer whose operation has no deterministic algorithm, also on the CPU."""

    def forward(self, x):
        """x."""
        torch.zeros(4).put_(torch.tensor([1, 1]), torch.tensor([2.0, 3.0]))
        return x


class Watch(torch.nn.Module):
    """Notes the process's settings in each pass."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        """x."""
        settings = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark
        self.seen.append((torch.get_deterministic_debug_mode(), *settings))
        return x


def wrapped(layer, **options):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), layer, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    net.append(torch.nn.Linear(4, 2))
    return xfer.wrap(net, backend="torch", head="4", image_size=16, device="cpu", **options)


@pytest.mark.parametrize("deterministic", [None, True, False])
def test_the_users_settings_hold_outside_of_a_pass(deterministic):
    watch, before = Watch(), (0, True, True)
    model = wrapped(watch, deterministic=deterministic)
    stepper = model.backend.stepper(model, UpdateSpec(OptimizerSpec(), LossSpec()))
    torch.backends.cudnn.benchmark = True
    try:
        for act in (
            lambda: model.logits(IMAGES),
            lambda: stepper.gradients(IMAGES, LABELS),
            lambda: stepper.step(IMAGES, LABELS, block_rates(1e-3, model.blocks)),
        ):
            act()
            assert watch.seen.pop() == (before if deterministic is False else (2, False, False))
            assert torch.get_deterministic_debug_mode() == 0
            assert torch.utils.deterministic.fill_uninitialized_memory
            assert torch.backends.cudnn.benchmark
    finally:
        torch.backends.cudnn.benchmark = False


def test_what_has_no_deterministic_algorithm_is_named_in_one_line():
    with pytest.raises(DeviceError, match=r"^put_ does not have a deterministic implementation on cpu: .*False or "):
        wrapped(Place()).logits(IMAGES)
    assert torch.get_deterministic_debug_mode() == 0
    assert wrapped(Place(), deterministic=False).logits(IMAGES).shape == (2, 2)


def test_gradients_of_tables_add_up_in_one_order():
    """Many threads add to the rows of a table, as those of relative positions; without the context, in any order."""
    backend = xfer.load("tiny", backend="torch", weights=None, classes=2, image_size=16, device="cpu").backend
    spec = xfer.load("tiny", backend="torch", weights=None, classes=2, image_size=16, device="cpu").spec
    places = torch.randint(0, 169, (200_000,), generator=torch.Generator().manual_seed(0))
    factors, found = torch.randn(200_000, generator=torch.Generator().manual_seed(1)), set()
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for _ in range(10):
            table = torch.zeros(169, requires_grad=True)
            with backend.deterministically(spec):
                (table[places] * factors).sum().backward()
            found.add(table.grad.numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1
