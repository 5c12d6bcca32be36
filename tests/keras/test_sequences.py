"""Sequences on Keras."""

import pytest
from hypothesis import given

from tests.suites.random_networks import examples
from tests.suites.sequences import OPTIONS, STEPS, Sequences


@pytest.mark.usefixtures("eagerly")
class TestKeras(Sequences):
    backend = "tensorflow"

    @examples(6)
    @given(STEPS, OPTIONS)
    def test_any_sequence(self, steps, options):
        self.check(steps, options)
