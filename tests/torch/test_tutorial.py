"""The tutorial on PyTorch."""

from tests.suites.tutorial import Tutorial


class TestTorch(Tutorial):
    backend = "torch"
