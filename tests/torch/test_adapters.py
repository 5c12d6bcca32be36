from tests.suites.adapters import Files


class TestTorch(Files):
    backend = "torch"
