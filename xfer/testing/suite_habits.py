"""Habits of PyTorch and Keras, in float64 to 1e-9 as the NumPy reference has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xfer.errors import UsageError
from xfer.models.backend import get_backend
from xfer.models.base_model import BaseModel
from xfer.models.stepper import Stepper
from xfer.specs.head import Head
from xfer.specs.inputs import Inputs
from xfer.specs.loss import LossSpec
from xfer.specs.numerics import Numerics
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.update import UpdateSpec
from xfer.testing.suite_base import CLASSES, Suite, assert_close, images, labels

EXACT = 1e-9
PLAIN = UpdateSpec(OptimizerSpec("sgd", momentum=0.0))
SGD = OptimizerSpec("sgd", momentum=0.9, weight_decay=0.1)
ADAM = OptimizerSpec("adam", weight_decay=0.1, eps=1e-3)
RULES = (
    UpdateSpec(SGD, form="keras"),
    UpdateSpec(SGD, decay_form="keras"),
    UpdateSpec(OptimizerSpec("sgd", momentum=0.9, nesterov=True, weight_decay=0.1), form="keras", decay_form="keras"),
    UpdateSpec(ADAM, form="keras"),
    UpdateSpec(ADAM, decay_form="keras"),
    UpdateSpec(OptimizerSpec("adamw", weight_decay=0.1, eps=1e-3), form="keras"),
    UpdateSpec(SGD, decay_form="keras", l2_sp=0.2),
)


class Habits(Suite):
    """What `xfer.Numerics` changes, and that nothing is changed without it."""

    @pytest.mark.parametrize("padding", ["symmetric", "same"])
    def test_padding(self, padding: Any) -> None:
        ours, reference = self.pair(numerics=Numerics(padding=padding))
        found = ours.block_outputs(images(4))
        assert_close(found, reference.block_outputs(images(4)), EXACT, padding)
        own = self.pair()[0].block_outputs(images(4))  # the same weights, padded as the network has it
        assert (own["stem"].tobytes() == found["stem"].tobytes()) == (padding == "symmetric")

    def test_habits_in_training(self) -> None:
        """Padding, and batch normalisation of the network and of the head: weights, statistics and slots."""
        habits = Numerics(padding="same", norm_eps=0.5, norm_momentum=0.4, norm_variance="biased")
        self.compare_steps(*self.pair(numerics=habits, head=Head((5,), norm="batch")), PLAIN)

    @pytest.mark.parametrize("update", RULES, ids=lambda u: f"{u.optimizer.name}-{u.form}-{u.decay_form}-{u.l2_sp}")
    def test_rules(self, update: UpdateSpec) -> None:
        """While the rate changes, for only then Keras's SGD is another rule."""
        ours, reference = self.pair()
        if update.l2_sp is None:
            ours.freeze()
            reference.freeze()
        self.compare_steps(ours, reference, update)

    @pytest.mark.parametrize("focal", [0.0, 2.0])
    def test_reduction(self, focal: float) -> None:
        """Over the count of images with a label; the gradient is in proportion."""
        ours, reference = self.pair()
        y = labels(6)
        y[1] = -1
        spec = LossSpec(0.0 if focal else 0.1, (1.0, 3.0, 0.25), focal=focal)
        found = self.stepper(ours, loss=spec).gradients(images(6), y)
        known = y[y >= 0]
        factor = sum(spec.class_weights[k] for k in known) / len(known)  # type: ignore[index]
        counted = LossSpec(spec.label_smoothing, spec.class_weights, focal=focal, reduction="count")
        by_count = self.stepper(ours, loss=counted).gradients(images(6), y)
        assert_close(by_count, {name: factor * array for name, array in found.items()}, EXACT, "gradient")
        assert_close(by_count, self.stepper(reference, loss=counted).gradients(images(6), y), EXACT, "reference")

    def test_head(self) -> None:
        model = self.model(numerics=Numerics(head_init="glorot"))
        for seed in (0, 3):
            model.replace_head(CLASSES, seed=seed)
            expected = Head().initial("fc", model.card.feature_dim, len(CLASSES), seed, "glorot")
            assert_close({name: model.weights()[name] for name in expected}, expected, 0, "head")

    @pytest.mark.parametrize("numerics", [Numerics(padding="same"), Numerics(norm_eps=0.5), Numerics(crop="squash")])
    def test_features_of_others_are_not_found(self, numerics: Numerics) -> None:
        """Each has a place of its own in the cache; what the forward pass does not depend on shares one."""
        own, other = self.model(), self.model(numerics=numerics)
        assert own.fingerprint("stem") != other.fingerprint("stem")
        same = self.model(numerics=Numerics(norm_momentum=0.3, optimizer="keras", head_init="glorot"))
        assert own.fingerprint("stem") == same.fingerprint("stem")

    def test_nothing_is_saved(self, tmp_path: Path) -> None:
        model = self.model(numerics=Numerics(norm_eps=0.5))
        with pytest.raises(UsageError, match=r"other numerics than xfer's own \(norm-eps\) cannot be saved"):
            model.save(tmp_path / "run")
        with pytest.raises(UsageError, match="cannot be compiled"):
            self.model(numerics=Numerics(norm_eps=0.5), compile=True)

    def compare_steps(self, ours: BaseModel, reference: BaseModel, update: UpdateSpec) -> None:
        """Losses, weights, statistics and slots after three updates at three rates."""
        mine, theirs = (self.steps(model, update) for model in (ours, reference))
        assert_close(ours.weights(), reference.weights(), EXACT, "weights")
        assert_close(mine.state(), theirs.state(), EXACT, "state")

    def steps(self, model: BaseModel, update: UpdateSpec) -> Stepper:
        """Three updates at three rates."""
        stepper = get_backend(model.backend).stepper(model, update)
        for i, rate in enumerate((0.1, 0.03, 0.2)):
            stepper.step(Inputs(images(6, seed=i)), labels(6), dict.fromkeys(model.blocks, rate), seed=i)
        return stepper
