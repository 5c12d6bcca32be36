"""torch.compile."""

import pytest
import torch

from tests.suites.compiling import Compiling


@pytest.mark.long
class TestTorch(Compiling):
    backend = "torch"

    def traced(self, model):
        return torch._dynamo.utils.counters["stats"]["calls_captured"]
