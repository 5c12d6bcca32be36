"""The tutorial on PyTorch."""

import pytest

from tests.suites.tutorial import Tutorial


@pytest.mark.long
class TestTorch(Tutorial):
    backend = "torch"
