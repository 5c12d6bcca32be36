"""Sequences on Keras."""

from hypothesis import given

from tests.suites.random_networks import examples
from tests.suites.sequences import OPTIONS, STEPS, Sequences


class TestKeras(Sequences):
    backend = "tensorflow"

    @examples(3)
    @given(STEPS, OPTIONS)
    def test_any_sequence(self, steps, options):
        self.check(steps, options)
