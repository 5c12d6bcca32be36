from tests.suites.runs_v0_1 import RunsOfVersion01


class TestTorch(RunsOfVersion01):
    backend = "torch"
