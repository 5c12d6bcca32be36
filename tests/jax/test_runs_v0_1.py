"""Runs of version 0.1 on backend 'jax'."""

import pytest

from tests.suites.runs_v0_1 import RunsOfVersion01


@pytest.mark.long
class TestJax(RunsOfVersion01):
    backend = "jax"
