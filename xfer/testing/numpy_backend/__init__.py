"""The reference backend: forward and backward passes in NumPy."""

from xfer.testing.numpy_backend.backend import NumpyBackend

__all__ = ["NumpyBackend"]
