"""For whoever writes a backend: a conformance suite, and a NumPy backend to read and to compare with.

>>> class TestMine(BackendSuite):
...     backend = "mine"

Imported by tests alone; needs pytest.
"""

from xfer.testing.numpy_backend import NumpyBackend
from xfer.testing.suite import BackendSuite

__all__ = ["BackendSuite", "NumpyBackend"]
