"""For the tests on JAX: Keras is imported on it, and what was compiled once in a run is not compiled again."""

import os
import tempfile

# Variables, which JAX reads when it is imported: processes that a test starts have them, too.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="xfer-jax-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import xfer_jax.backend  # noqa: F401 - before a test imports Keras on its default engine
