"""What `xfer.wrap` promises, for both backends: subclasses make the native network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

import xfer
from xfer.errors import UsageError, WeightsError
from xfer.specs.update import UpdateSpec

LABELS = np.arange(12) % 3
NOISE = np.random.default_rng(0).integers(0, 80, (12, 32, 32, 3))
IMAGES = (NOISE + 80 * LABELS[:, None, None, None]).astype(np.uint8)


class Wrapping(ABC):
    """Give `backend`, `head` and the methods below."""

    backend: ClassVar[str]
    head: ClassVar[str]
    inner: ClassVar[str]

    @abstractmethod
    def native(self) -> Any:
        """A small network with batch norm and 3 classes for 32 x 32 pixels."""

    @abstractmethod
    def native_logits(self, net: Any, x: np.ndarray) -> np.ndarray:
        """Of normalised images (N, H, W, 3), by the framework itself."""

    @abstractmethod
    def variant(self, activation: str = "relu", ending: str = "", channels: int = 3, bias: bool = True) -> Any:
        """A convolution, an activation that has no weights, a mean and the head, always with the same weights.

        `ending` is what follows the head: "", "softmax", "scale" or "two", which is a second output.
        """

    @abstractmethod
    def dropped(self) -> Any:
        """A network with dropout at its root, before the head, and a layer with dropout inside it, called "inner"."""

    @abstractmethod
    def detached(self) -> Any:
        """A network with a convolution "cut", whose output passes no gradient on, before another, "after"."""

    def wrap(self, net: Any, **options: Any) -> xfer.BaseModel:
        return xfer.wrap(net, backend=self.backend, head=self.head, image_size=32, device="cpu", **options)

    def test_logits_are_the_networks_own(self):
        net = self.native()
        p = xfer.Preprocessing(32, 32)
        theirs = self.native_logits(net, (IMAGES / 255.0 - p.mean) / p.std)
        model = self.wrap(net)
        assert model.classes == ("0", "1", "2")
        np.testing.assert_allclose(model.logits(IMAGES), theirs, rtol=1e-4, atol=1e-5)
        assert np.isclose(model.predict_proba(list(IMAGES[:2])).sum(), 2)

    def test_blocks_partition_the_tensors(self):
        model = self.wrap(self.native())
        assert {model.card.block_of(name) for name in model.shapes()} == set(model.blocks)
        found = model.block_outputs(IMAGES)
        assert list(found) == [*model.blocks[:-1], "features", "head"]
        assert found["features"].shape == (12, model.card.feature_dim)

    def test_frozen_body_stays_and_a_new_head_learns(self):
        model = self.wrap(self.native(), classes=["a", "b", "c"])
        model.freeze()
        before = model.weights()
        stepper = model.backend.stepper(model, UpdateSpec(xfer.OptimizerSpec("adam"), xfer.LossSpec()))
        rates = dict.fromkeys(model.blocks, 0.1)
        losses = [float(stepper.step(IMAGES, LABELS, rates, seed=i)) for i in range(30)]
        assert losses[-1] < 0.8 * losses[0]
        changed = {n for n, a in model.weights().items() if not np.array_equal(a, before[n])}
        assert changed
        assert {model.card.block_of(name) for name in changed} == {"head"}
        model.freezer.verify()

    def test_the_last_block_alone_is_unfrozen(self):
        model = self.wrap(self.native())
        model.freeze()
        model.unfreeze(last=1)
        before = model.weights()
        stepper = model.backend.stepper(model, UpdateSpec(xfer.OptimizerSpec("sgd"), xfer.LossSpec()))
        stepper.step(IMAGES, LABELS, dict.fromkeys(model.blocks, 0.1), seed=0)
        changed = {model.card.block_of(n) for n, a in model.weights().items() if not np.array_equal(a, before[n])}
        assert changed == {model.blocks[-2], "head"}

    def test_checkpoints_come_back_through_wrap_and_say_so(self, tmp_path):
        model = self.wrap(self.native(), classes=["a", "b"], seed=3)
        model.freeze()
        model.save(tmp_path / "run")
        again = self.wrap(self.native(), weights=tmp_path / "run")
        assert again.classes == ("a", "b")
        assert again.trainable == model.trainable
        np.testing.assert_array_equal(again.logits(IMAGES), model.logits(IMAGES))
        with pytest.raises(WeightsError, match=r"xfer\.wrap\(network"):
            xfer.load(tmp_path / "run", backend=self.backend)

    def test_trainer_and_evaluation(self):
        model = self.wrap(self.native(), classes=["a", "b", "c"])
        data = xfer.data.load({"train": (IMAGES, LABELS), "val": (IMAGES, LABELS)}, classes=["a", "b", "c"])
        history = xfer.Trainer(model, lr=1e-2, batch_size=4, progress=False).fit(data, epochs=2)
        assert len(history) == 2
        assert 0 <= model.evaluate(data).metrics["accuracy"] <= 1

    @pytest.mark.parametrize("bad", ["nothing", "inner"])
    def test_what_is_no_head_is_said_in_one_line(self, bad):
        name = self.inner if bad == "inner" else bad
        with pytest.raises(UsageError, match="head"):
            xfer.wrap(self.native(), backend=self.backend, head=name)
        with pytest.raises(UsageError, match="network itself"):
            xfer.wrap(object(), backend=self.backend, head="fc")

    def test_the_cache_tells_apart_what_only_the_code_does(self, tmp_path):
        """Equal names and weights, another activation."""
        data = xfer.data.arrays(IMAGES, LABELS, IMAGES, LABELS, classes=["a", "b", "c"])
        for activation in ("relu", "tanh"):
            model = self.wrap(self.variant(activation), classes=["a", "b", "c"])
            model.freeze()
            found = xfer.features.cache.FeatureCache(tmp_path).data(model, data, "features", 4, 1)[0]
            np.testing.assert_allclose(found.val.images[0], model.features(IMAGES)[0], rtol=1e-4, atol=1e-5)
        again = self.wrap(self.variant("relu"), classes=["x", "y"])
        assert xfer.features.cache.FeatureCache(tmp_path).data(again, data, "features", 4, 1)[1].computed == 0

    @pytest.mark.parametrize("ending", ["", "softmax"])
    def test_logits_are_those_of_the_head(self, ending):
        model = self.wrap(self.variant(ending=ending))
        features = model.stage(IMAGES, "features")
        weights = model.weights()
        weight, bias = (weights[f"{model.card.head}.{name}"] for name in ("weight", "bias"))
        np.testing.assert_allclose(model.logits(IMAGES), features @ weight.T + bias, rtol=1e-4, atol=1e-5)

    def test_what_follows_the_head_is_refused_or_left_out(self):
        with pytest.raises(UsageError, match="is not that of its head"):
            self.wrap(self.variant(ending="scale"))
        self.wrap(self.variant(ending="scale"), classes=3)  # a new head's output is taken as it is
        with pytest.raises(UsageError, match=r"of logits|one output"):
            self.wrap(self.variant(ending="two"), classes=3)
        with pytest.raises(UsageError, match=r"takes no images \(N, "):
            self.wrap(self.variant(channels=1), classes=3)

    def test_dropout_without_a_block_is_the_networks_own(self):
        """With everything unfrozen it drops; with all but the head frozen nothing random is left."""
        model = self.wrap(self.dropped(), classes=3)
        stepper = model.backend.stepper(model, UpdateSpec(xfer.OptimizerSpec("sgd"), xfer.LossSpec()))

        def losses():
            rates = dict.fromkeys(model.blocks, 0.0)
            return {round(float(stepper.step(IMAGES, LABELS, rates, seed=seed)), 6) for seed in range(4)}

        assert len(losses()) == 4
        model.freeze()
        assert len(losses()) == 1
        model.unfreeze("other")
        model.freeze("inner")
        features = self.live_layers(model)
        assert features == {"root": True, "inner": False}

    @abstractmethod
    def live_layers(self, model: xfer.BaseModel) -> dict[str, bool]:
        """Whether the dropout at the root, and that inside of the layer "inner", drop in training."""

    def test_a_run_has_all_of_the_model(self, tmp_path):
        recipe = xfer.Preprocessing(32, 40, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
        model = self.wrap(self.native(), classes=["a", "b", "c"], preprocessing=recipe)
        data = xfer.data.arrays(IMAGES, LABELS, IMAGES, LABELS, classes=["a", "b", "c"])
        xfer.calibrate(model, data, cache=False)
        xfer.tune_thresholds(model, data, "macro_f1", cache=False)
        model.decision = replace(model.decision, temperature=2.0)
        model.save(tmp_path / "run")
        again = self.wrap(self.native(), weights=tmp_path / "run")
        assert (again.decision, again.spec.preprocessing) == (model.decision, recipe)
        assert again.decision.thresholds
        assert [p.label for p in again.predict(list(IMAGES))] == [p.label for p in model.predict(list(IMAGES))]

    def test_a_run_has_its_tasks(self, tmp_path):
        tasks = [xfer.Task("kind", "single-label", ("a", "b")), xfer.Task("size", "regression", ("cm",))]
        model = self.wrap(self.native())
        model.replace_head(tasks)
        model.save(tmp_path / "run")
        again = self.wrap(self.native(), weights=tmp_path / "run")
        for name, found in model.predict_tasks(list(IMAGES)).items():
            np.testing.assert_array_equal(again.predict_tasks(list(IMAGES))[name], found)

    def test_a_run_has_its_estimator(self, tmp_path):
        from sklearn.linear_model import LogisticRegression

        data = xfer.data.arrays(IMAGES, LABELS, IMAGES, LABELS, classes=["a", "b", "c"])
        model = self.wrap(self.native())
        model.replace_head(["a", "b", "c"], xfer.Head.sklearn(LogisticRegression()))
        xfer.Trainer(model, progress=False, cache=False).fit(data)
        model.save(tmp_path / "run")
        again = self.wrap(self.native(), weights=tmp_path / "run")
        np.testing.assert_array_equal(again.predict_proba(list(IMAGES)), model.predict_proba(list(IMAGES)))

    def test_a_head_without_bias(self, tmp_path):
        model = self.wrap(self.variant(bias=False))
        model.save(tmp_path / "run")
        again = self.wrap(self.variant(bias=False), weights=tmp_path / "run")
        np.testing.assert_array_equal(again.logits(IMAGES), model.logits(IMAGES))

    def test_a_run_that_was_killed_is_resumed(self, tmp_path):
        """Its folder holds nothing but checkpoints."""
        data = xfer.data.arrays(IMAGES, LABELS, classes=["a", "b", "c"], val=0)

        class Killed(xfer.callbacks.Callback):
            def on_step_end(self, trainer, step, loss):
                if trainer.epoch == 1 and step == 1:
                    raise RuntimeError

        def trainer(*callbacks):
            model = self.wrap(self.native(), classes=["a", "b", "c"])
            where = xfer.Checkpoints(tmp_path / "run" / "checkpoints", steps=1) if callbacks else None
            return xfer.Trainer(
                model, batch_size=4, progress=False, callbacks=callbacks, checkpoints=where, cache=False
            )

        whole = trainer()
        whole.fit(data, 2)
        with pytest.raises(RuntimeError):
            trainer(Killed()).fit(data, 2)
        with pytest.raises(WeightsError, match=r"Trainer\.resume"):
            xfer.Trainer.resume(tmp_path / "run")
        model = self.wrap(self.native(), weights=tmp_path / "run")
        resumed = xfer.Trainer.resume(tmp_path / "run", model=model, progress=False, cache=False)
        assert (resumed.epoch, resumed.batch) == (1, 1)
        resumed.fit(data)
        for name, array in whole.model.weights().items():
            np.testing.assert_array_equal(model.weights()[name], array)

    @pytest.mark.parametrize("micro_batch_size", [None, 5])
    def test_what_has_no_gradient_stays_as_it_is(self, micro_batch_size):
        """As in torch.optim: no weight decay, no momentum, no count."""
        model = self.wrap(self.detached(), classes=3)
        rule = xfer.OptimizerSpec("adamw", weight_decay=0.5)
        stepper = model.backend.stepper(model, UpdateSpec(rule, xfer.LossSpec(), clip_norm=1.0))
        stepper.micro_batch_size = micro_batch_size
        before = model.weights()
        stepper.step(IMAGES, LABELS, dict.fromkeys(model.blocks, 0.1))
        same = {model.card.block_of(n) for n, array in model.weights().items() if np.array_equal(array, before[n])}
        assert same == {"cut"}
        counts = {
            model.card.block_of(n.removeprefix("step/")): int(a) for n, a in stepper.state().items() if "step/" in n
        }
        assert counts == {"cut": 0, "after": 1, "head": 1}
        assert not stepper.gradients(IMAGES, LABELS)["cut.weight"].any()

    def test_explanations(self):
        """The gradient at a convolution, of which mean and head make the logits, written down by hand."""
        model = self.wrap(self.variant("tanh"), classes=3)
        weights = np.random.default_rng(1).standard_normal((12, 3))
        a, gradient = model.activation_gradient(IMAGES, "conv", weights)
        assert a.shape == (12, 30, 30, 8)
        by_channel = weights @ model.weights()["classifier.weight"] / 900
        np.testing.assert_allclose(gradient, (1 - np.tanh(a) ** 2) * by_channel[:, None, None], rtol=1e-3, atol=1e-6)
        found = model.explain(IMAGES[:2])
        assert (found.block, found.raw.shape) == ("conv", (2, 30, 30))
        assert np.abs(model.explain(IMAGES[:2], method="occlusion", patch=16).raw).max() > 0
        own = self.wrap(self.native(), classes=3)
        own.freeze()
        before = own.weights()
        assert own.explain(IMAGES[:2]).maps.shape == (2, 32, 32)
        assert all(np.array_equal(array, before[name]) for name, array in own.weights().items())

    def test_a_block_that_has_no_gradient_is_not_explained(self):
        model = self.wrap(self.detached(), classes=3)
        assert model.explain(IMAGES[:1]).block == "after"
        for plan in (model.unfreeze, model.freeze):
            plan()
            with pytest.raises(UsageError, match="have no gradient at block 'cut'"):
                model.explain(IMAGES[:1], block="cut")
