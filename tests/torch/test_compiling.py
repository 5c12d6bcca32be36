"""torch.compile."""

import torch

from tests.compiling import Compiling


class TestTorch(Compiling):
    backend = "torch"

    def traced(self, model):
        return torch._dynamo.utils.counters["stats"]["calls_captured"]
