"""TensorFlow against the contracts and the NumPy reference."""

from xfer.testing import BackendSuite


class TestKeras(BackendSuite):
    backend = "tensorflow"
