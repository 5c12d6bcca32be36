"""For the tests on JAX."""

import tempfile

import jax
import pytest

from xfer_jax.model import JaxModel

# What was compiled once in a run of the tests is not compiled again.
jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp(prefix="xfer-jax-"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="class")
def eagerly():
    """Operation by operation, for many small networks, whose compilation takes longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JaxModel, "jit", lambda self, function, donated=(): function)
        yield
