"""scikit-learn's machinery on PyTorch."""

from tests.suites.scikit import Scikit


class TestTorch(Scikit):
    backend = "torch"
