"""scikit-learn's machinery on JAX."""

import pytest

from tests.suites.scikit import Scikit


@pytest.mark.long
class TestJax(Scikit):
    backend = "jax"
