"""Rates of stochastic depth and dropout on TensorFlow."""

from tests.suites.drop_rates_keras import DropRatesOfKerasNetworks


class TestDropRates(DropRatesOfKerasNetworks):
    backend = "tensorflow"
