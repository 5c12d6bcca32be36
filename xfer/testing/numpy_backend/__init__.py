"""The third implementation: forward and backward passes written out in NumPy, to be read and compared with."""

from xfer.testing.numpy_backend.backend import NumpyBackend

__all__ = ["NumpyBackend"]
