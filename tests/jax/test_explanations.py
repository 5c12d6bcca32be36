"""Explanations on backend 'jax'."""

import pytest

from tests.suites.explaining import Explaining


@pytest.mark.long
class TestJax(Explaining):
    backend = "jax"
