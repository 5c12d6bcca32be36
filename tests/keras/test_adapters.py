from tests.suites.adapters import Adapters


class TestKeras(Adapters):
    backend = "tensorflow"
