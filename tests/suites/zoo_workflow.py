"""The workflow on an architecture: load, freeze, train the head, unfreeze, a step, save, load, resume.

Each with random weights and the smallest images it takes. `backend` is set in a subclass.
"""

import gc

import numpy as np
import pytest

import xfer
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.update import UpdateSpec
from xfer.zoo import card, cards

FAMILIES = {c.family for c in cards() if c.family != "tiny"}
SMALLEST = sorted(min((c for c in cards() if c.family == f), key=lambda c: c.parameters).name for f in FAMILIES)
TRANSFORMERS = [name for name in SMALLEST if card(name).family in ("vit", "timm_vit", "swin")]
BRANCHED = [name for name in SMALLEST if card(name).auxiliary]
OTHERS = [c.name for c in cards() if c.name not in TRANSFORMERS and c.family != "tiny"]


def smallest(name):
    found = card(name)
    size = max(32, found.size_smallest, *(branch.smallest for branch in found.auxiliary))
    if found.family in ("alexnet", "squeezenet", "inception", "vgg"):
        size = max(size, 96)
    return -(-size // found.size_multiple) * found.size_multiple


class ZooWorkflow:
    backend = None

    @pytest.fixture(autouse=True)
    def freed(self):
        """Networks are parts of circles on Keras, and the collector does not know how large they are."""
        yield
        gc.collect()

    def workflow(self, name, tmp_path):
        size = smallest(name)
        rng = np.random.default_rng(0)
        images, labels = rng.integers(0, 256, (8, size, size, 3)).astype(np.uint8), np.arange(8) % 2
        data = xfer.data.arrays(images[:4], labels[:4], images[4:], labels[4:], classes=["a", "b"])
        options = {"backend": self.backend, "device": "cpu"}
        model = xfer.load(name, weights=None, classes=["a", "b"], image_size=size, precision="fp32", **options)
        before = model.weights()
        model.freeze()
        assert {model.card.block_of(n) for n in model.trainable} == {"head"}
        trainer = xfer.Trainer(
            model, lr=1e-3, batch_size=4, progress=False, cache=tmp_path / "cache", restore_best=False
        )
        trainer.fit(data, 1)
        for tensor, array in model.weights().items():
            assert (array.tobytes() == before[tensor].tobytes()) == (model.card.block_of(tensor) != "head"), tensor
        model.freezer.verify()
        model.unfreeze(last=1)
        model.freezer.freeze_norm()
        live = set(model.trainable)
        middle = model.weights()
        trainer.fit(data, 1, lr=1e-3)
        after = model.weights()
        assert {t for t in after if after[t].tobytes() != middle[t].tobytes()} <= live
        assert any(model.card.block_of(t) != "head" and (after[t] != middle[t]).any() for t in live)
        trainer.save(tmp_path / "run")
        again = xfer.load(tmp_path / "run", **options)
        np.testing.assert_array_equal(again.logits(images), model.logits(images))
        assert again.trainable == model.trainable
        resumed = xfer.Trainer.resume(tmp_path / "run", progress=False, cache=False, **options)
        rows = [t.fit(data, 1)[0]["loss"] for t in (trainer, resumed)]
        assert rows[1] == pytest.approx(rows[0], rel=1e-5)

    @pytest.mark.parametrize("name", BRANCHED)
    def test_frozen_auxiliary_classifiers_stay_out_of_the_loss_of_a_new_head(self, name):
        """The new head has the old one's names, so the freeze plan is the same."""
        size = smallest(name)
        options = {"weights": None, "classes": 2, "image_size": size, "precision": "fp32", "dropout": False}
        model = xfer.load(name, backend=self.backend, device="cpu", **options)
        model.freeze()
        model.replace_head(2, seed=1)
        images, labels = (
            np.random.default_rng(0).integers(0, 256, (4, size, size, 3)).astype(np.uint8),
            np.arange(4) % 2,
        )
        z = model.logits(images).astype(np.float64)
        expected = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(4), labels])
        stepper = model.backend.stepper(model, UpdateSpec(OptimizerSpec("sgd"), LossSpec()))
        assert stepper.step(images, labels, dict.fromkeys(model.blocks, 0.1)) == pytest.approx(expected, rel=1e-5)

    def test_a_head_that_reads_every_place(self):
        """SqueezeNet's: hidden layers and normalisation are of places, and its features can be resampled."""
        images = np.random.default_rng(0).integers(0, 256, (6, 96, 96, 3)).astype(np.uint8)
        data = xfer.data.arrays(images, np.arange(6) % 3 // 2, classes=["a", "b"], val=0)
        options = {"weights": None, "image_size": 96, "precision": "fp32", "head": xfer.Head((4,), norm="batch")}
        model = xfer.load("squeezenet1_1", backend=self.backend, device="cpu", classes=["a", "b"], **options)
        model.freeze()
        features, weights = np.asarray(xfer.extract(model, data, cache=False).train.images), model.weights()
        name = model.card.head
        hidden = features @ weights[f"{name}.hidden0.weight"].T + weights[f"{name}.hidden0.bias"]
        trainer = xfer.Trainer(model, lr=1e-9, batch_size=6, progress=False, cache=False)
        trainer.fit(data, 1)
        mean = model.weights()[f"{name}.norm0.running_mean"]
        np.testing.assert_allclose(mean, 0.1 * hidden.mean(axis=(0, 1)), rtol=1e-4, atol=1e-6)
        resampled = xfer.resample(xfer.extract(model, data, cache=False), "smote")
        assert np.shape(resampled.train.images) == (8, *features.shape[1:])
        trainer.fit(resampled, 1)

    @pytest.mark.parametrize("name", TRANSFORMERS)
    def test_transformers(self, name, tmp_path):
        self.workflow(name, tmp_path)

    @pytest.mark.long
    @pytest.mark.parametrize("name", OTHERS)
    def test_all(self, name, tmp_path):
        self.workflow(name, tmp_path)
