"""xfer on JAX: the networks of xfer_keras_nets on Keras's JAX engine, in a process without TensorFlow."""

import os

from xfer_keras_nets.engine import engine

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or it takes three quarters of a GPU's memory
with engine("jax"):  # here, because a process that unpickles a model begins with any module of the package
    import jax  # noqa: F401
    import keras  # noqa: F401
