"""The command line on backend 'tensorflow'."""

from tests.suites.command_line import CommandLine


class TestKeras(CommandLine):
    backend = "tensorflow"
