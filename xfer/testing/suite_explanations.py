"""The gradient at a block's output, which Grad-CAM reads: what it is, and that the model stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xfer.errors import UnknownNameError, UsageError
from xfer.models.base_model import BaseModel
from xfer.specs.inputs import Inputs
from xfer.specs.tasks import Task
from xfer.testing.suite_base import CLASSES, Suite, assert_close, images, labels

BLOCKS = ("stem", "layer1")
TASKS = (Task("kind", "single-label", ("ant", "bee")), Task("size", "regression", ("mm",)))


class Explaining(Suite):
    """`activation_gradient`, and maps made of it."""

    @pytest.mark.parametrize("block", BLOCKS)
    @pytest.mark.parametrize("options", [{}, {"columns": 2}, {"classes": None, "tasks": TASKS}], ids=str)
    def test_gradients_at_a_block_are_the_references(self, options: dict[str, Any], block: str) -> None:
        ours, reference = self.pair(**options)
        inputs, weights = _inputs(ours, 3), _weights(ours, 3)
        found, expected = (
            dict(zip("ag", m.activation_gradient(inputs, block, weights), strict=True)) for m in (ours, reference)
        )
        assert_close(found, expected, 1e-9, f"activations and gradients at {block}")
        np.testing.assert_array_equal(found["a"], ours.outputs(inputs, [block])[block])

    @pytest.mark.parametrize("block", BLOCKS)
    def test_gradients_at_a_block_are_differences(self, block: str) -> None:
        """The derivative along random directions, by central differences of a pass that begins after the block."""
        model = self.pair()[0]
        weights, rng = _weights(model, 2), np.random.default_rng(2)
        activations, gradient = model.activation_gradient(images(2), block, weights)
        assert activations.shape == gradient.shape
        for _ in range(3):
            step = 1e-6 * rng.standard_normal(activations.shape)
            up, down = ((model.logits(Inputs(activations + s, block)) * weights).sum() for s in (step, -step))
            expected = (gradient * step).sum()
            assert abs((up - down) / 2 - expected) <= 1e-6 * np.abs(gradient * step).sum()

    @pytest.mark.parametrize(("precision", "dtype"), [("fp32", np.float32), ("fp64", np.float64)])
    def test_a_gradient_has_the_shape_and_type_of_outputs(self, precision: str, dtype: Any) -> None:
        model = self.model(precision)
        for block in BLOCKS:
            expected = model.outputs(images(1), [block])[block]
            for found in model.activation_gradient(images(1), block, np.eye(1, len(CLASSES))):
                assert found.shape == expected.shape
                assert found.dtype == dtype

    def test_a_gradient_changes_nothing(self) -> None:
        """Frozen blocks have one too, and training goes on as if none had been asked for."""
        models = [self.model(), self.model()]
        for model in models:
            model.freeze("stem")
        before = models[0].weights()
        steppers = [self.train(model, 2) for model in models]
        plan, weights = models[0].trainable, models[0].weights()
        for block in BLOCKS:
            _, gradient = models[0].activation_gradient(images(6), block, np.eye(3)[labels(6)])
            assert np.abs(gradient).max() > 0
        assert models[0].trainable == plan
        assert all(a.tobytes() == weights[name].tobytes() for name, a in models[0].weights().items())
        losses = [self.go_on(stepper, range(2, 4)) for stepper in steppers]
        assert losses[0] == losses[1]
        theirs = models[1].weights()
        assert all(a.tobytes() == theirs[name].tobytes() for name, a in models[0].weights().items())
        assert models[0].weights()["conv1.weight"].tobytes() == before["conv1.weight"].tobytes()

    def test_what_has_no_gradient_is_refused(self) -> None:
        model = self.model()
        with pytest.raises(UnknownNameError, match="did you mean 'layer1'"):
            model.activation_gradient(images(1), "layr1", np.eye(1, 3))
        for behind in ("features", "head", "input"):
            with pytest.raises(UnknownNameError, match="unknown block"):
                model.activation_gradient(images(1), behind, np.eye(1, 3))
        outputs = model.outputs(images(1), ["layer1"])["layer1"]
        with pytest.raises(UnknownNameError, match="unknown block 'stem'"):
            model.activation_gradient(Inputs(outputs, "layer1"), "stem", np.eye(1, 3))
        with pytest.raises(UsageError, match=r"at_logits has shape \(2, 3\): expected \(1, 3\)"):
            model.activation_gradient(images(1), "stem", np.ones((2, 3)))

    def test_maps_are_the_references(self) -> None:
        ours, reference = self.pair()
        each: tuple[dict[str, Any], ...] = ({"method": "grad-cam"}, {"method": "occlusion", "patch": 6, "stride": 5})
        for options in each:
            found, expected = (model.explain(images(3), **options) for model in (ours, reference))
            maps, references = ({"maps": e.maps, "raw": e.raw} for e in (found, expected))
            assert_close(maps, references, 1e-9, str(options))
            assert found.block == expected.block == ("layer1" if options["method"] == "grad-cam" else None)
            np.testing.assert_array_equal(found.targets, expected.targets)


def _inputs(model: BaseModel, number: int) -> Inputs:
    width = model.spec.columns
    return Inputs(images(number), None, np.random.default_rng(1).standard_normal((number, width)) if width else None)


def _weights(model: BaseModel, number: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((number, len(model.classes)))
