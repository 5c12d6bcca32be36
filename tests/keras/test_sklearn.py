"""scikit-learn's machinery on TensorFlow."""

from tests.suites.scikit import Scikit


class TestKeras(Scikit):
    backend = "tensorflow"
