"""Several processes on JAX."""

import pytest

from tests.suites.distributed import DistributedSuite, InShort


class TestInShort(InShort):
    backend, jobs = "jax", ("head",)


@pytest.mark.long
class TestDistributed(DistributedSuite):
    backend = "jax"
