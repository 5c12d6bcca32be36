from tests.suites.zoo_workflow import ZooWorkflow


class TestTorch(ZooWorkflow):
    backend = "torch"
