"""PyTorch against the contracts and the NumPy reference."""

from xfer.testing import BackendSuite


class TestTorch(BackendSuite):
    backend = "torch"
