"""The command line on backend 'jax'."""

import pytest

from tests.suites.command_line import CommandLine


@pytest.mark.long
class TestJax(CommandLine):
    backend = "jax"
