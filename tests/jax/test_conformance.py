"""JAX against the contracts and the NumPy reference."""

import jax

from xfer.testing import BackendSuite


class TestJax(BackendSuite):
    backend = "jax"
    taken_by = "arrays"
    collected = True

    def out_of_memory(self):
        return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4096 bytes.")
