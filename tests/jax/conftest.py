"""For the tests on JAX: what was compiled once in a run of the tests is not compiled again."""

import tempfile

import jax
import xfer_jax.backend  # noqa: F401 - before any test imports Keras, which it has on JAX

jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp(prefix="xfer-jax-"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
