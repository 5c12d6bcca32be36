"""For the tests on JAX: Keras is imported on it, and what was compiled once in a run is not compiled again."""

import tempfile

import jax

import xfer_jax.backend  # noqa: F401 - before a test imports Keras on its default engine

jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp(prefix="xfer-jax-"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
