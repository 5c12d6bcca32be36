"""Ranking networks on backend 'tensorflow'."""

from tests.suites.ranking import RanksNetworks


class TestKeras(RanksNetworks):
    backend = "tensorflow"
