"""Batches of one image, without a label, or without weight: what is undefined changes nothing, and is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import xfer
from xfer.data import Data, Split
from xfer.data.images.decode import BadImageError
from xfer.errors import TrainingError
from xfer.specs.head import Head
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.testing.suite_bad_numbers import LastGood, state
from xfer.testing.suite_base import CLASSES, Suite, assert_close, images, labels

BATCH_NORM = Head((4,), norm="batch")


class Unreadable(Sequence[Any]):
    """Images of which some cannot be read."""

    def __init__(self, pixels: np.ndarray, bad: set[int]) -> None:
        self.pixels, self.bad = pixels, bad

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Any) -> Any:
        if index in self.bad:
            raise BadImageError("damaged")
        return self.pixels[index]


class SmallBatches(Suite):
    """Live batch normalisation in the head, which sees one value a channel of each image."""

    def fit(self, number: int, bad: set[int], batch_size: int, epochs: int = 1) -> tuple[xfer.Trainer, LastGood]:
        """A fit on images of which some cannot be read, batch by batch in the order of the split."""
        split = Split(Unreadable(images(number), bad), labels(number), [f"{i}.png" for i in range(number)], CLASSES)
        model, last = self.model(head=BATCH_NORM), LastGood()
        trainer = xfer.Trainer(model, lr=0.1, batch_size=batch_size, progress=False, cache=False, callbacks=[last])
        trainer.fit(Data(split, None, None, CLASSES, "images"), epochs)
        return trainer, last

    def test_an_unreadable_image_leaves_one_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        order = np.random.default_rng([0, 0]).permutation(4).tolist()
        trainer, last = self.fit(4, {order[3]}, 2)
        assert last.updates == 1
        assert f"{order[2]}.png is left out: it is alone in its batch" in capsys.readouterr().err
        assert all(np.isfinite(array).all() for array in trainer.model.weights().values())
        assert trainer.history[0]["images"] == 2
        alone, _ = self.fit(4, {order[2], order[3]}, 2)
        assert_close(trainer.model.weights(), alone.model.weights(), 1e-7, "weights")

    @pytest.mark.parametrize(("number", "batch_size"), [(4, 1), (1, 4)])
    def test_one_image_at_a_time_is_refused(self, number: int, batch_size: int) -> None:
        message = "statistics of one image are undefined .*: give more, or call model.freezer.freeze_norm"
        with pytest.raises(TrainingError, match=message):
            self.fit(number, set(), batch_size)

    def test_an_epoch_of_images_alone_is_refused(self) -> None:
        order = np.random.default_rng([0, 0]).permutation(4).tolist()
        with pytest.raises(TrainingError, match="epoch 1 made no update: batch normalisation cannot be trained on one"):
            self.fit(4, {order[0], order[2]}, 2)

    def test_a_piece_of_one_image(self) -> None:
        """Nothing changes; the next step is that of a model that never saw it."""
        found = []
        for bad in (False, True):
            model = self.model(head=BATCH_NORM)
            stepper = self.stepper(model, OptimizerSpec("adamw"))
            rates = dict.fromkeys(model.blocks, 0.05)
            if bad:
                stepper.micro_batch_size = 1
                assert math.isnan(stepper.step(images(3), labels(3), rates))
                stepper.micro_batch_size = None
                assert math.isnan(stepper.step(images(1), labels(1), rates))
            stepper.step(images(6), labels(6), rates)
            found.append(state(stepper))
        assert found[0] == found[1]

    def test_pieces_are_of_equal_size(self) -> None:
        inputs = self.model().accept(images(9))
        assert [len(piece) for piece in inputs.micro_batches(4)] == [3, 3, 3]
        assert [len(piece) for piece in inputs.micro_batches(8)] == [5, 4]

    @pytest.mark.parametrize("spec", [LossSpec(), LossSpec(focal=2.0)], ids=["cross-entropy", "focal"])
    def test_a_batch_without_weight(self, spec: LossSpec) -> None:
        """No sample counts: the loss is 0, and plain SGD changes nothing but statistics."""
        from dataclasses import replace

        model = self.model()
        model.freezer.freeze_norm()
        stepper = self.stepper(model, loss=replace(spec, class_weights=(0.0, 1.0, 1.0)))
        before = state(stepper)
        assert float(stepper.step(images(4), np.array([0, -1, 0, 0]), dict.fromkeys(model.blocks, 0.1))) == 0.0
        weights = {name: array for name, array in state(stepper).items() if not name.startswith("step/")}
        assert weights == {name: before[name] for name in weights}

    @pytest.mark.parametrize("soft", [False, True])
    def test_a_certain_answer_has_no_gradient(self, soft: bool) -> None:
        """(1 - p)^0.5 has no derivative at p = 1, the focal loss has: 0."""
        model = self.model()
        model.freeze()
        model.set_weights({"fc.weight": np.zeros((3, 16), np.float32), "fc.bias": np.array([1e4, 0, 0], np.float32)})
        stepper = self.stepper(model, loss=LossSpec(focal=0.5))
        target = np.eye(3)[[0, 0]] if soft else np.zeros(2, np.int64)
        for array in stepper.gradients(images(2), target).values():
            np.testing.assert_array_equal(array, np.zeros_like(array))

    def test_the_loss_of_an_epoch_is_that_of_its_labelled_images(self) -> None:
        x, y = images(12), labels(12)
        y[[0, 1, 2, 3, 4, 7, 9]] = -1
        model = self.model()
        model.freeze()
        trainer = xfer.Trainer(model, lr=1e-12, batch_size=4, progress=False, cache=False, restore_best=False)
        row = trainer.fit(Data(Split(x, y, list("abcdefghijkl"), CLASSES), None, None, CLASSES, "images"), 1)[0]
        z = model.logits(x).astype(np.float64)
        losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(12), y]
        assert row["loss"] == pytest.approx(losses[y >= 0].mean(), rel=1e-5)
        assert row["images"] == 12
