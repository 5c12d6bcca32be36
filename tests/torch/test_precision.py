"""Precision "auto" and bfloat16 on PyTorch."""

from tests.suites.precision import Precision


class TestTorch(Precision):
    backend = "torch"
