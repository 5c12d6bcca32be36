"""Random functional models on JAX."""

import pytest
from hypothesis import given

from tests.suites.random_networks import examples, plans
from tests.suites.random_networks_keras import KINDS, KerasRandomNetworks


@pytest.mark.long
class TestJax(KerasRandomNetworks):
    backend = "jax"

    @examples(2)
    @given(plans(sorted(KINDS)))
    def test_any_network(self, plan):
        self.check(plan)
