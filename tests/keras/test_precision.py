"""Precision "auto" and bfloat16 on TensorFlow."""

from tests.suites.precision import Precision


class TestKeras(Precision):
    backend = "tensorflow"
