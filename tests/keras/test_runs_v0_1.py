from tests.suites.runs_v0_1 import RunsOfVersion01


class TestKeras(RunsOfVersion01):
    backend = "tensorflow"
