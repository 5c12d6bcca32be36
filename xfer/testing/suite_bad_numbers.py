"""NaN and infinity: no update is made, and the error says where they first occur."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xfer
from xfer.data import Data, Split
from xfer.errors import NumbersError, TrainingError
from xfer.models.base_model import BaseModel
from xfer.models.stepper import Stepper
from xfer.specs.inputs import Inputs
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.rates import block_rates
from xfer.specs.tasks import losses
from xfer.testing.suite_base import CLASSES, SIZE, Suite, images, labels
from xfer.training.callback import Callback, TrainerView

State = dict[str, bytes]
Poison = Callable[[BaseModel], Inputs]
NAMES = tuple(f"{CLASSES[i % 3]}/{i}.png" for i in range(6))


def state(stepper: Stepper) -> State:
    """Weights, statistics and slots, bit by bit."""
    return {name: array.tobytes() for name, array in (stepper.model.weights() | stepper.state()).items()}


def overflowing(model: BaseModel) -> np.ndarray:
    """Give `layer1` weights with which a bright image leaves float32 there, and one of the mean colour does not.

    Returns:
        Six images, of which the third and the fifth are bright.
    """
    model.freezer.freeze_norm()
    shapes = model.shapes()
    large = {"conv1.weight": 0.1, "layer1.conv.weight": 1e37}
    model.set_weights({name: np.full(shapes[name], value, np.float32) for name, value in large.items()})
    colour = np.rint(np.array(model.spec.preprocessing.mean) * 255).astype(np.uint8)
    found = np.tile(colour, (6, SIZE, SIZE, 1))
    found[[2, 4]] = 255
    return found


def infinite_columns(model: BaseModel) -> Inputs:
    """A column of one sample is infinite."""
    columns = np.ones((6, 2))
    columns[3, 1] = np.inf
    return Inputs(images(6), None, columns)


def missing_columns(model: BaseModel) -> Inputs:
    """A column of one sample is NaN."""
    columns = np.ones((6, 2))
    columns[0, 0] = np.nan
    return Inputs(images(6), None, columns)


def features(model: BaseModel) -> Inputs:
    """Features of one sample are NaN."""
    model.freeze()
    found = np.array(model.stage(images(6), "features"))
    found[5, 1] = np.nan
    return Inputs(found, "features", np.ones((6, 2)))


def large_gradients(model: BaseModel) -> Inputs:
    """The loss is a number, and the squares of gradients are none."""
    model.set_weights({"fc.weight": model.weights()["fc.weight"] * np.float32(1e25)})
    return Inputs(images(6), None, np.ones((6, 2)))


class LastGood(Callback):
    """What stands after each update."""

    def __init__(self) -> None:
        self.updates, self.found = 0, State()

    def on_step_end(self, trainer: TrainerView, step: int, loss: Any) -> None:
        self.updates, self.found = self.updates + 1, state(trainer.stepper)


class BadNumbers(Suite):
    """What is refused, what stays, and what is said."""

    @pytest.mark.parametrize("poison", [infinite_columns, missing_columns, features, large_gradients])
    @pytest.mark.parametrize(("clip_norm", "micro_batch_size"), [(None, None), (1.0, None), (1.0, 2)])
    def test_nothing_changes(self, poison: Poison, clip_norm: float | None, micro_batch_size: int | None) -> None:
        """A step of bad numbers between others is as none, with live normalisation, momentum and weight decay."""
        model = self.model(columns=2)
        stepper = self.stepper(model, OptimizerSpec("adamw"), clip_norm=clip_norm)
        stepper.micro_batch_size = micro_batch_size
        rates, good = block_rates(0.01, model.blocks), Inputs(images(6, 1), None, np.ones((6, 2)))
        stepper.step(good, labels(6), rates)
        bad = poison(model)
        if poison is features:
            good = Inputs(model.stage(good.values, "features"), "features", good.columns)
        before = state(stepper)
        assert np.isnan(stepper.step(bad, labels(6), rates))
        assert state(stepper) == before
        if poison is not large_gradients:
            assert np.isfinite(stepper.step(good, labels(6), rates))
            assert state(stepper) != before

    def test_a_step_after_a_bad_one_is_the_step_without_it(self) -> None:
        found = []
        for bad in (False, True):
            model = self.model(columns=2)
            stepper = self.stepper(model, OptimizerSpec("adam"), clip_norm=1.0)
            for i in range(3):
                if bad:
                    stepper.step(infinite_columns(model), labels(6), block_rates(0.01, model.blocks), seed=i)
                good = Inputs(images(6, i), None, np.ones((6, 2)))
                stepper.step(good, labels(6), block_rates(0.01, model.blocks), seed=i)
            found.append(state(stepper))
        assert found[0] == found[1]

    def test_infinite_targets(self) -> None:
        tasks = [xfer.Task("size", "regression", ("cm",))]
        model = self.model(classes=None, tasks=tasks)
        stepper = self.stepper(model, loss=losses(model.spec.tasks))
        before = state(stepper)
        targets = np.array([[0.5], [np.nan], [np.inf]])  # NaN is a target that is missing
        assert np.isnan(stepper.step(images(3), targets, block_rates(0.1, model.blocks)))
        assert state(stepper) == before
        assert np.isfinite(stepper.step(images(3)[:2], targets[:2], block_rates(0.1, model.blocks)))

    @pytest.mark.parametrize("micro_batch_size", [None, 4])
    def test_block_and_samples_are_named(self, micro_batch_size: int | None) -> None:
        model = self.model()
        trainer = self.trainer(model, batch_size=6)
        trainer.stepper.micro_batch_size = micro_batch_size
        data = self.data(overflowing(model))
        before = state(trainer.stepper)
        with pytest.raises(TrainingError) as error:
            trainer.fit(data, 1)
        assert str(error.value) == (
            "bad numbers in epoch 1, batch 1: outputs of block 'layer1' are not finite in 2 of 6 samples: "
            f"{self.in_order(trainer, [2, 4])}; the update was not made; "
            "check these samples, lower lr or set clip_norm=1.0"
        )
        assert state(trainer.stepper) == before

    def test_weights_that_are_bad_already(self) -> None:
        model = self.model()
        model.set_weights({"layer1.bn.running_var": np.full(16, np.nan, np.float32)})
        model.freezer.freeze_norm()
        message = r"weights of block 'layer1' are not finite in all 6 samples: .* and 3 more;"
        with pytest.raises(TrainingError, match=message):
            self.trainer(model, batch_size=6).fit(self.data(images(6)), 1)

    def test_features_that_were_given(self) -> None:
        model = self.model()
        model.freeze()
        values = np.array(model.stage(images(6), "features"))
        values[4, 0] = np.inf
        trainer = self.trainer(model, batch_size=3, seed=1)
        with pytest.raises(TrainingError) as error:
            trainer.fit(self.data(values, after="features"), 1)
        assert str(error.value).endswith(
            "outputs of 'features', which were given, are not finite in 1 of 3 samples: bee/4.png; "
            "the update was not made; mend or remove them"
        )

    @pytest.mark.parametrize("clip_norm", [None, 1.0])
    def test_a_rate_at_which_training_explodes(self, clip_norm: float | None) -> None:
        """It ends at the first bad step, with the weights and slots after the last good one."""
        model, last = self.model(), LastGood()
        options = {"optimizer": OptimizerSpec("sgd"), "lr": 1e25, "clip_norm": clip_norm, "callbacks": [last]}
        trainer = self.trainer(model, batch_size=3, **options)
        with pytest.raises(TrainingError) as error:
            trainer.fit(self.data(images(6)), 20)
        advice = "lower lr or set clip_norm=1.0" if clip_norm is None else "lower lr"
        assert str(error.value).endswith(f"the update was not made; {advice}")
        assert f"in epoch {last.updates // 2 + 1}, batch {last.updates % 2 + 1}: " in str(error.value)
        assert last.updates > 0
        assert state(trainer.stepper) == last.found
        assert all(np.isfinite(array).all() for array in model.weights().values())

    def test_answers_that_are_no_numbers_are_refused(self) -> None:
        """No metric is computed of them, and no prediction made."""
        model = self.model()
        data = self.data(overflowing(model))
        message = r"the logits of tiny are not finite in 2 of 6 samples: cat/2\.png, bee/4\.png; check these samples"
        with pytest.raises(NumbersError, match=message):
            model.evaluate(data)
        with pytest.raises(NumbersError, match=message):
            model.predict(data.train)
        model.set_weights({"fc.bias": np.full(3, np.nan, np.float32)})
        with pytest.raises(NumbersError, match=r"in all 6 samples: .*; weights of block 'head' are not finite"):
            model.predict_proba(data.train)

    def test_validation_while_training_is_refused_likewise(self) -> None:
        model = self.model()
        model.freeze()
        values = np.array(model.stage(images(6), "features"))
        train, values[4, 0] = self.data(values.copy(), "features").train, np.nan
        val = self.data(values, "features").train
        with pytest.raises(NumbersError, match=r"are not finite in 1 of 6 samples: bee/4\.png; check these samples"):
            self.trainer(model).fit(Data(train, val, None, CLASSES, "features"), 1)

    def trainer(self, model: BaseModel, **options: Any) -> xfer.Trainer:
        """One that shows and keeps nothing."""
        return xfer.Trainer(model, **({"lr": 1e-3, "cache": False, "progress": False} | options))

    def data(self, values: np.ndarray, after: str | None = None) -> Data:
        """Six samples with names, all to train on."""
        return Data(Split(values, labels(6), NAMES, CLASSES, after), None, None, CLASSES, "images")

    def in_order(self, trainer: xfer.Trainer, chosen: list[int]) -> str:
        """The names of samples in the order of the first epoch."""
        order = np.random.default_rng([trainer.settings.seed, 0]).permutation(6)
        return ", ".join(NAMES[i] for i in order if i in chosen)
