"""Explanations on backend 'tensorflow'."""

import pytest

from tests.suites.explaining import Explaining


class TestKeras(Explaining):
    backend = "tensorflow"

    @pytest.mark.long
    def test_behind_the_class_token_nothing_is_explained(self):
        super().test_behind_the_class_token_nothing_is_explained()
