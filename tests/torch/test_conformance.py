"""PyTorch against the contracts and the NumPy reference."""

import torch

from xfer.testing import BackendSuite


class TestTorch(BackendSuite):
    backend = "torch"

    def out_of_memory(self):
        return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
