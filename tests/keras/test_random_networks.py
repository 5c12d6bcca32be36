"""Random functional models on TensorFlow."""

import pytest
from hypothesis import given

from tests.suites.random_networks import examples, plans
from tests.suites.random_networks_keras import KINDS, KerasRandomNetworks


@pytest.mark.usefixtures("eagerly")
class TestKeras(KerasRandomNetworks):
    backend = "tensorflow"

    @examples(6)
    @given(plans(sorted(KINDS)))
    def test_any_network(self, plan):
        self.check(plan)
