"""JAX against the contracts and the NumPy reference."""

import jax
import pytest

from xfer.testing import BackendSuite
from xfer.testing.suite_bad_numbers import BadNumbers
from xfer.testing.suite_base import Suite
from xfer.testing.suite_contracts import Contracts
from xfer.testing.suite_explanations import Explaining
from xfer.testing.suite_numerics import Numerics
from xfer.testing.suite_training import Training


class OnJax(Suite):
    backend = "jax"
    taken_by = "arrays"
    collected = True

    def out_of_memory(self):
        return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4096 bytes.")


class TestInShort(OnJax):
    """A test of each large part of the suite; each compiles what it runs."""

    test_save_and_load = Contracts.test_save_and_load
    test_block_outputs = Numerics.test_block_outputs
    test_an_unfreeze_in_mid_run = Numerics.test_an_unfreeze_in_mid_run
    test_a_layer_may_be_frozen_in_part = Training.test_a_layer_may_be_frozen_in_part
    test_infinite_targets = BadNumbers.test_infinite_targets
    test_a_gradient_has_the_shape_and_type_of_outputs = Explaining.test_a_gradient_has_the_shape_and_type_of_outputs


@pytest.mark.long
class TestJax(OnJax, BackendSuite):
    """All of it."""
