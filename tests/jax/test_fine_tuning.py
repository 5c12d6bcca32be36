"""Rates of stochastic depth and dropout on JAX."""

import pytest

from tests.suites.drop_rates_keras import DropRatesOfKerasNetworks


@pytest.mark.long
class TestDropRates(DropRatesOfKerasNetworks):
    backend = "jax"
