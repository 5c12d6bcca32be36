from tests.suites.adapters import Files
from tests.suites.hub import hub as hub


class TestTorch(Files):
    backend = "torch"
