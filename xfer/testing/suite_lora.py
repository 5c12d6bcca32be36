"""LoRA and BitFit: adapters that compute and learn what the reference does, beside weights that stay."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from xfer.errors import UsageError
from xfer.models.base_model import BaseModel
from xfer.models.spec import ModelSpec
from xfer.specs.head import Head
from xfer.specs.optimizer import OptimizerSpec
from xfer.testing.numpy_backend import NumpyBackend
from xfer.testing.suite_base import CLASSES, SIZE, Suite, assert_close, images, labels
from xfer.zoo import card

EXACT = 1e-9
RANK, ALPHA = 2, 6.0
ADAPTERS = {"mlp.lora_A", "mlp.lora_B"}


def with_linear_layer(precision: Any = "fp64") -> ModelSpec:
    """The tiny network with a linear layer before its head."""
    tiny = card("tiny")
    found = replace(tiny, blocks={**tiny.blocks, "mlp": ("mlp",)}, config={**tiny.config, "hidden": 12}, feature_dim=12)
    return ModelSpec(found, Head(), CLASSES, found.preprocessing.at(SIZE), precision)


class LowRank(Suite):
    """Adapters of the linear layer, and biases."""

    def adapted(self, precision: Any = "fp64") -> tuple[BaseModel, BaseModel]:
        """The network under test and the reference, with the same weights and adapters that all show."""
        pair = self.engine.build(with_linear_layer(precision)), NumpyBackend().build(with_linear_layer(precision))
        rng = np.random.default_rng(3)
        weights = {name: 0.3 * rng.standard_normal(shape) + 0.5 for name, shape in pair[1].shapes().items()}
        adapters = {"mlp.lora_A": rng.standard_normal((RANK, 16)), "mlp.lora_B": rng.standard_normal((12, RANK))}
        for model in pair:
            model.set_trainable(frozenset(model.freezable))
            model.set_weights(weights)
            model.add_lora(RANK, ALPHA)
            model.set_weights(adapters)
        return pair

    def test_adapters_change_nothing_at_first(self) -> None:
        model = self.engine.build(with_linear_layer())
        model.set_weights({name: np.full(shape, 0.1) for name, shape in model.shapes().items()})
        before = model.logits(images(3))
        report = model.add_lora(RANK, layers="mlp", seed=5)
        assert model.logits(images(3)).tobytes() == before.tobytes()
        arrays = model.weights()
        assert not arrays["mlp.lora_B"].any()
        assert 0 < np.abs(arrays["mlp.lora_A"]).max() <= 16**-0.5
        assert report.blocks["mlp"] == (RANK * (16 + 12), 12 * 16 + 12)
        assert model.trainable >= ADAPTERS
        assert {model.card.block_of(name) for name in model.trainable - ADAPTERS} <= {"head"}

    def test_adapters_compute_what_the_reference_does(self) -> None:
        ours, reference = self.adapted()
        weights = reference.weights()
        by_hand = weights["mlp.weight"] + ALPHA / RANK * weights["mlp.lora_B"] @ weights["mlp.lora_A"]
        pooled = ours.outputs(images(5), ["layer1"])["layer1"].mean((1, 2))
        expected = np.maximum(pooled @ by_hand.T + weights["mlp.bias"], 0)
        assert_close({"mlp": ours.outputs(images(5), ["mlp"])["mlp"]}, {"mlp": expected}, EXACT, "adapted layer")
        assert_close({"z": ours.logits(images(5))}, {"z": reference.logits(images(5))}, EXACT, "logits")

    def test_adapters_learn_as_the_reference_does(self) -> None:
        """Gradients and updates of AdamW; what is frozen stays bitwise the same."""
        ours, reference = self.adapted()
        for model in (ours, reference):
            model.unfreeze("head")
        found, expected = (self.stepper(m).gradients(images(6), labels(6)) for m in (ours, reference))
        assert set(found) == ADAPTERS | {"fc.weight", "fc.bias"}
        assert_close(found, expected, EXACT, "gradients")
        before = ours.weights()
        for model in (ours, reference):
            self.train(model, 4, 0.01, optimizer=OptimizerSpec("adamw"))
        assert_close(ours.weights(), reference.weights(), EXACT, "weights after four updates")
        changed = {name for name, array in ours.weights().items() if array.tobytes() != before[name].tobytes()}
        assert changed == set(found)
        ours.freezer.verify()

    def test_merging_keeps_the_outputs(self) -> None:
        ours, _ = self.adapted()
        before, names, shapes = ours.logits(images(5)), ours.trainable - ADAPTERS, ours.shapes()
        ours.merge_lora()
        assert_close({"z": ours.logits(images(5))}, {"z": before}, EXACT, "logits")
        assert ours.shapes() == {name: shape for name, shape in shapes.items() if name not in ADAPTERS}
        assert ours.trainable == names
        ours.freezer.verify()
        with pytest.raises(UsageError, match="no adapters"):
            ours.merge_lora()

    def test_new_adapters_begin_with_an_empty_optimizer(self) -> None:
        ours, _ = self.adapted()
        stepper = self.stepper(ours, OptimizerSpec("adamw"))
        stepper.load_state({name: np.ones_like(array) for name, array in stepper.state().items()})
        assert stepper.state()["exp_avg/mlp.lora_B"].all()
        ours.merge_lora()
        ours.add_lora(RANK, ALPHA)
        state = stepper.state()
        assert state["step/mlp.lora_A"] == 0
        assert not state["exp_avg/mlp.lora_B"].any()
        assert state["exp_avg/fc.weight"].all()

    def test_a_copy_has_the_adapters(self) -> None:
        ours, _ = self.adapted()
        again = copy.deepcopy(ours)
        assert again.trainable == ours.trainable
        assert again.logits(images(3)).tobytes() == ours.logits(images(3)).tobytes()
        again.set_weights({"mlp.lora_A": np.zeros((RANK, 16))})
        assert ours.weights()["mlp.lora_A"].all()

    def test_adapters_are_refused(self) -> None:
        with pytest.raises(UsageError, match="no linear layer"):
            self.model().add_lora()
        model = self.engine.build(with_linear_layer())
        for options, said in (
            ({"rank": 0}, "at least 1"),
            ({"rank": 13}, "12 x 16"),
            ({"alpha": -1.0}, "positive"),
            ({"layers": "stem"}, "not linear"),
        ):
            with pytest.raises(UsageError, match=said):
                model.add_lora(**options)
        model.add_lora(2)
        with pytest.raises(UsageError, match="merge_lora"):
            model.add_lora(2)

    def test_biases_alone_are_trained(self) -> None:
        """BitFit. A normalisation whose bias is trained uses batch statistics, as one that is trained whole."""
        pair = self.pair()
        for model in pair:
            model.freeze()
            model.unfreeze(only="biases")
            assert model.trainable == {"bn1.bias", "layer1.bn.bias", "fc.weight", "fc.bias"}
            self.train(model, 3, 0.05)
            model.freezer.verify()
        assert_close(pair[0].weights(), pair[1].weights(), EXACT, "weights after three updates")
        assert pair[0].read(["bn1.running_mean"])["bn1.running_mean"].any()
