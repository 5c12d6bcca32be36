"""The tutorial on JAX."""

import pytest

from tests.suites.tutorial import Tutorial


@pytest.mark.long
class TestJax(Tutorial):
    backend = "jax"
