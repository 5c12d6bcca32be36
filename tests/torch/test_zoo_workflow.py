import pytest

from tests.suites.zoo_workflow import TRANSFORMERS, ZooWorkflow

LARGE = [pytest.param(n, marks=pytest.mark.long) if n.startswith("vit") else n for n in TRANSFORMERS]


class TestTorch(ZooWorkflow):
    backend = "torch"

    @pytest.mark.parametrize("name", LARGE)
    def test_transformers(self, name, tmp_path):
        self.workflow(name, tmp_path)
