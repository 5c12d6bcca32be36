"""Several processes on JAX."""

from tests.suites.distributed import DistributedSuite


class TestDistributed(DistributedSuite):
    backend = "jax"
