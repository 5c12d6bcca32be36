"""Ranking networks on backend 'torch'."""

from tests.suites.ranking import RanksNetworks


class TestTorch(RanksNetworks):
    backend = "torch"
