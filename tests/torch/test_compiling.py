"""torch.compile."""

import numpy as np
import pytest
import torch

import xfer
from tests.suites.compiling import Compiling
from xfer.specs.inputs import Inputs


@pytest.mark.long
class TestTorch(Compiling):
    backend = "torch"

    def traced(self, model):
        return torch._dynamo.utils.counters["stats"]["calls_captured"]


def test_auxiliary_classifiers_run_beside_compiled_stages():
    """With stages in the place of what torch.compile makes of them."""
    model = xfer.load("googlenet", backend="torch", weights=None, classes=2, image_size=64, device="cpu", dropout=False)
    model.freeze("*bn*")
    images = Inputs(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8))
    plain = model.forward(images)
    model._fast, model.compiled["training"] = dict(model.stages), True
    fast = model.forward(images)
    assert len(plain) == len(fast) == 3
    for (weight, expected), (other, found) in zip(plain, fast, strict=True):
        assert weight == other
        torch.testing.assert_close(found, expected)
