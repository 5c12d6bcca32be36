"""Several processes on JAX."""

import pytest

from tests.suites.distributed import DistributedSuite


class TestInShort:
    """Each process compiles what it runs."""

    backend, synchronises = "jax", True
    one, together, check_same = DistributedSuite.one, DistributedSuite.together, DistributedSuite.check_same
    place, _same, _arguments, _forked = (
        *(DistributedSuite.place, DistributedSuite._same),
        *(DistributedSuite._arguments, DistributedSuite._forked),
    )

    def test_two_processes_train_what_one_trains(self, place):
        self.check_same(self._same(place, ["head"]), "head")


@pytest.mark.long
class TestDistributed(DistributedSuite):
    backend = "jax"
