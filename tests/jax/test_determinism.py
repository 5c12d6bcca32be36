"""The same bits from each run on JAX."""

import pytest

from tests.suites.determinism import Determinism


@pytest.mark.long
class TestJax(Determinism):
    backend = "jax"
