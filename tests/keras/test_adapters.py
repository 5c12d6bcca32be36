import pytest

from tests.suites.adapters import Adapters


class TestKeras(Adapters):
    backend = "tensorflow"

    @pytest.mark.long
    def test_a_resumed_run_ends_bitwise_the_same(self, file, tmp_path):
        super().test_a_resumed_run_ends_bitwise_the_same(file, tmp_path)

    @pytest.mark.long
    def test_the_merged_model_is_a_plain_one_with_the_same_outputs(self, file, tmp_path):
        super().test_the_merged_model_is_a_plain_one_with_the_same_outputs(file, tmp_path)
