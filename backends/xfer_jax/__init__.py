"""xfer on JAX: the networks of xfer_keras_nets on Keras's JAX engine, in a process without TensorFlow."""
