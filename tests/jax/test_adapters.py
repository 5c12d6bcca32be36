"""Adapters on JAX."""

import pytest

from tests.suites.adapters import Adapters


@pytest.mark.long
class TestJax(Adapters):
    backend = "jax"
