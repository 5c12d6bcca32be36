"""Hostile files on JAX."""

import pytest

from tests.suites.hostile import HostileSuite


@pytest.mark.long
class TestJax(HostileSuite):
    backend = "jax"
