"""The command line on backend 'tensorflow'."""

import pytest

from tests.suites.command_line import CommandLine


class TestKeras(CommandLine):
    backend = "tensorflow"

    @pytest.mark.long
    def test_predict(self, run, tmp_path):
        super().test_predict(run, tmp_path)

    @pytest.mark.long
    def test_options_override_the_file(self, tmp_path):
        super().test_options_override_the_file(tmp_path)
