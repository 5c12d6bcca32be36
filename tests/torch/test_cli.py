"""The command line on backend 'torch'."""

from tests.suites.command_line import CommandLine


class TestTorch(CommandLine):
    backend = "torch"
