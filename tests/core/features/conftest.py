"""How many forward passes a test makes."""

import pytest

from xfer.testing.numpy_backend.model import NumpyModel


@pytest.fixture
def passes(monkeypatch):
    """How many images go through the network from its beginning, in inference and in training."""
    found = []

    def counted(method):
        def call(self, inputs, *arguments):
            found.extend([1] * len(inputs) if inputs.after is None else [])
            return method(self, inputs, *arguments)

        return call

    for name in ("run", "forward"):
        monkeypatch.setattr(NumpyModel, name, counted(getattr(NumpyModel, name)))
    return found
