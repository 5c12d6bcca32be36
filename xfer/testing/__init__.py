"""For authors of backends: a conformance suite, and a NumPy backend as reference.

>>> class TestMine(BackendSuite):
...     backend = "mine"

Imported by tests alone; needs pytest.
"""

from xfer.testing.numpy_backend import NumpyBackend
from xfer.testing.suite import BackendSuite

__all__ = ["BackendSuite", "NumpyBackend"]
