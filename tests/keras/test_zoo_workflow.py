from tests.suites.zoo_workflow import ZooWorkflow


class TestKeras(ZooWorkflow):
    backend = "tensorflow"
