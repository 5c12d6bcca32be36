"""The zoo's networks on JAX."""

import pytest

from tests.suites.zoo_workflow import ZooWorkflow


@pytest.mark.long
class TestJax(ZooWorkflow):
    backend = "jax"
