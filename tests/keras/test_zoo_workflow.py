import pytest

import xfer
from tests.suites.zoo_workflow import BRANCHED, TRANSFORMERS, ZooWorkflow


class TestKeras(ZooWorkflow):
    backend = "tensorflow"

    @pytest.mark.long
    @pytest.mark.parametrize("name", BRANCHED)
    def test_frozen_auxiliary_classifiers_stay_out_of_the_loss_of_a_new_head(self, name):
        super().test_frozen_auxiliary_classifiers_stay_out_of_the_loss_of_a_new_head(name)

    @pytest.mark.long
    @pytest.mark.parametrize("name", TRANSFORMERS)
    def test_transformers(self, name, tmp_path):
        self.workflow(name, tmp_path)


def test_a_vision_transformer_is_frozen_and_opened():
    model = xfer.load("vit_b_32", backend="tensorflow", weights=None, classes=2, image_size=64, device="cpu")
    model.freeze()
    assert {model.card.block_of(name) for name in model.trainable} == {"head"}
    model.unfreeze()
    assert "encoder.pos_embedding" in model.trainable
    assert set(model.trainable) == set(model.parameters)
