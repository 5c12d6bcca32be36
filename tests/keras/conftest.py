"""For the tests on TensorFlow."""

import pytest
import tensorflow as tf


@pytest.fixture(scope="class")
def eagerly():
    """For many small networks, whose tracing takes longer than all else."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
