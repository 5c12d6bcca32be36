"""scikit-learn's machinery on PyTorch."""

from tests.scikit import Scikit


class TestTorch(Scikit):
    backend = "torch"
