"""TensorFlow against the contracts and the NumPy reference."""

import tensorflow as tf

from xfer.testing import BackendSuite


class TestKeras(BackendSuite):
    backend = "tensorflow"
    taken_by = "arrays"
    collected = True

    def out_of_memory(self):
        return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
