"""Sequences on NumPy."""

from hypothesis import given

from tests.suites.random_networks import examples
from tests.suites.sequences import OPTIONS, STEPS, Sequences
from xfer.testing import NumpyBackend


class TestNumpy(Sequences):
    backend = NumpyBackend()

    @examples(100)
    @given(STEPS, OPTIONS)
    def test_any_sequence(self, steps, options):
        self.check(steps, options)
