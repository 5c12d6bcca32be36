"""The command line on backend 'torch'."""

from tests.command_line import CommandLine


class TestTorch(CommandLine):
    backend = "torch"
