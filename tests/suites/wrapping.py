"""What `xfer.wrap` promises, for both backends: subclasses make the native network."""

from __future__ import annotations

from abc import ABC, abstractmethod
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
