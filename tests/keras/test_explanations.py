"""Explanations on backend 'tensorflow'."""

from tests.suites.explaining import Explaining


class TestKeras(Explaining):
    backend = "tensorflow"
