"""The NumPy backend keeps the contracts; its mathematics is checked in test_numpy_layers.py."""

from xfer.testing import BackendSuite, NumpyBackend


class TestNumpy(BackendSuite):
    backend = NumpyBackend()
