"""Sequences on JAX."""

import pytest
from hypothesis import given

from tests.suites.random_networks import examples
from tests.suites.sequences import OPTIONS, STEPS, Sequences


@pytest.mark.long
class TestJax(Sequences):
    backend = "jax"

    @examples(2)
    @given(STEPS, OPTIONS)
    def test_any_sequence(self, steps, options):
        self.check(steps, options)
