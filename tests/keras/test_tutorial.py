"""The tutorial on TensorFlow/Keras."""

import pytest

from tests.suites.tutorial import Tutorial


@pytest.mark.long
class TestKeras(Tutorial):
    backend = "tensorflow"
