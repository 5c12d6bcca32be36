"""scikit-learn's machinery on TensorFlow."""

from tests.scikit import Scikit


class TestKeras(Scikit):
    backend = "tensorflow"
