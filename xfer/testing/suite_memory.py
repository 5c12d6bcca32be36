"""Running out of memory: micro-batches give the result of the whole batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xfer
from xfer.errors import DeviceError
from xfer.models.base_model import BaseModel
from xfer.specs.inputs import Inputs
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.rates import block_rates
from xfer.specs.tasks import losses
from xfer.testing.suite_base import CLASSES, Suite, assert_close, images, labels

EXACT = 1e-9
SOFT = np.random.default_rng(3).dirichlet(np.ones(len(CLASSES)), 7)


class Memory(Suite):
    """Gradient accumulation, and how it begins.

    Set `taken_by` to the name of the model's method that takes the `Inputs` of every pass, if it is another.
    """

    taken_by = "forward"

    @pytest.mark.parametrize(
        ("spec", "targets"),
        [
            (LossSpec(), labels(7)),
            (LossSpec(0.1, (1.0, 5.0, 0.25)), np.array([0, 1, -1, -1, 2, 1, 0])),
            (LossSpec(focal=2.0, adjustment=(0.5, -1.0, 0.0)), SOFT),
        ],
        ids=["plain", "weighted, some labels missing", "soft"],
    )
    @pytest.mark.parametrize("micro_batch_size", [1, 3])
    def test_pieces_make_the_same_updates(self, spec: LossSpec, targets: np.ndarray, micro_batch_size: int) -> None:
        """Losses, weights and slots of three clipped steps, whole and in micro-batches of two sizes."""
        runs = []
        for micro_batches in (None, micro_batch_size):
            model = self.pair()[0]
            model.freezer.freeze_norm()
            stepper = self.stepper(model, OptimizerSpec("adamw"), spec, clip_norm=0.5)
            stepper.micro_batch_size = micro_batches
            rates = block_rates(0.01, model.blocks)
            found = [float(stepper.step(images(7, seed=i), targets, rates, seed=i)) for i in range(3)]
            runs.append((found, model.weights(), stepper.state()))
        np.testing.assert_allclose(runs[1][0], runs[0][0], rtol=EXACT)
        assert_close(runs[1][1], runs[0][1], EXACT, "weights")
        assert_close(runs[1][2], runs[0][2], EXACT, "slots")

    def test_pieces_of_features_and_tasks(self) -> None:
        """Pieces that begin after a block, with several heads and targets that are missing."""
        tasks = [xfer.Task("kind", classes=CLASSES), xfer.Task("size", "regression", ("cm",), weight=0.5)]
        targets = np.array([[0, 1.5], [2, np.nan], [np.nan, -1.0], [1, 0.5], [np.nan, np.nan]])
        found, weights = [], []
        for micro_batches in (None, 2):
            model = self.model("fp64", classes=None, tasks=tasks)
            model.freeze("stem")
            model.freezer.freeze_norm()
            stepper = self.stepper(model, loss=losses(model.spec.tasks))
            stepper.micro_batch_size = micro_batches
            stem = Inputs(model.stage(images(5), "stem"), "stem")
            found.append(float(stepper.step(stem, targets, block_rates(0.1, model.blocks))))
            weights.append(model.weights())
        assert found[1] == pytest.approx(found[0], rel=EXACT)
        assert_close(weights[1], weights[0], EXACT, "weights")

    def test_live_statistics_see_every_piece_once(self) -> None:
        model = self.pair()[0]
        before = model.weights()
        stepper = self.stepper(model)
        stepper.micro_batch_size = 4
        stepper.step(images(8), labels(8), dict.fromkeys(model.blocks, 0.0))
        in_pieces = model.weights()["bn1.running_mean"]
        model.set_weights(before)
        stepper.micro_batch_size = None
        for part in (slice(0, 4), slice(4, 8)):
            stepper.step(images(8)[part], labels(8)[part], dict.fromkeys(model.blocks, 0.0))
        np.testing.assert_allclose(in_pieces, model.weights()["bn1.running_mean"], rtol=1e-6)

    def test_running_out_of_memory_halves_the_pieces_and_changes_nothing(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A device with room for two images at once; the whole batch on another."""
        rates = dict.fromkeys(self.model().blocks, 0.05)
        whole, small = self.pair()[0], self.pair()[0]
        for model in (whole, small):
            model.freezer.freeze_norm()
        self.room_for(2, small, monkeypatch)
        steppers = [self.stepper(model, OptimizerSpec("adam")) for model in (whole, small)]
        for i in range(2):
            found = [float(stepper.step(images(7, i), labels(7), rates)) for stepper in steppers]
            assert found[1] == pytest.approx(found[0], rel=EXACT)
        assert_close(small.weights(), whole.weights(), EXACT, "weights")
        assert steppers[1].micro_batch_size == 2
        said = capsys.readouterr().err
        assert said.count("out of memory") == 2, "once at 7 images, once at 4"
        assert "over micro-batches of 2, the batch stays 7" in said

    def test_no_room_for_one_image_is_an_error_and_the_model_is_as_it_was(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = self.model()
        before = model.weights()
        self.room_for(0, model, monkeypatch)
        stepper = self.stepper(model)
        with pytest.raises(DeviceError, match="no memory for a training step of one image"):
            stepper.step(images(4), labels(4), dict.fromkeys(model.blocks, 0.1))
        assert all(array.tobytes() == before[name].tobytes() for name, array in model.weights().items())

    def room_for(self, images: int, model: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let a pass of more images than this fail like the framework's own."""
        step, error = getattr(model, self.taken_by), self.out_of_memory()
        assert model.backend.out_of_memory(error)

        def bounded(inputs: Any) -> Any:
            if len(inputs) > images:
                raise error
            return step(inputs)

        monkeypatch.setattr(model, self.taken_by, bounded)

    def out_of_memory(self) -> Exception:
        """What the framework raises."""
        return MemoryError()
