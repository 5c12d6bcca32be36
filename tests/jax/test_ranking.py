"""Ranking networks on backend 'jax'."""

import pytest

from tests.suites.ranking import RanksNetworks


@pytest.mark.long
class TestJax(RanksNetworks):
    backend = "jax"
