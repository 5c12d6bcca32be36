import pytest

from tests.suites.adapters import Adapters


@pytest.mark.long  # the conformance suite has the layers, and tests/torch the files
class TestKeras(Adapters):
    backend = "tensorflow"
