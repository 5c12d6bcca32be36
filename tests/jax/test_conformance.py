"""JAX against the contracts and the NumPy reference: operation by operation, and compiled."""

import jax
import pytest

from xfer.testing import BackendSuite


class OnJax(BackendSuite):
    backend = "jax"
    taken_by = "arrays"
    collected = True

    def out_of_memory(self):
        return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4096 bytes.")


@pytest.mark.usefixtures("eagerly")
class TestOperations(OnJax):
    """The same functions, each operation compiled once for all tests."""


@pytest.mark.long
class TestCompiled(OnJax):
    """As they are used."""
