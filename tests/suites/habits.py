"""The habits of a framework as xfer has them, against that framework itself, in float64; for both backends."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

import xfer
from xfer.data.images.decode import resize_crop
from xfer.models.backend import get_backend
from xfer.specs.head import Head
from xfer.specs.loss import LossSpec
from xfer.specs.numerics import FRAMEWORKS, Numerics
from xfer.specs.training_settings import TrainingSettings
from xfer.testing.suite_base import CLASSES, SIZE, images, labels

EXACT = 1e-9
RATES = (0.1, 0.02, 0.05)


class FrameworkHabits:
    """Subclass it, and let the framework compute each thing by its own defaults."""

    backend: ClassVar[str]
    exact: ClassVar[float] = EXACT  # Keras has rates and constants in float32

    def model(self, **options):
        numerics = Numerics.habits(FRAMEWORKS[self.backend])
        given = {"weights": None, "classes": CLASSES, "image_size": SIZE, "precision": "fp64", "numerics": numerics}
        return xfer.load("tiny", backend=self.backend, **(given | options))

    @pytest.mark.parametrize("rule", ["sgd", "adam", "adamw"])
    @pytest.mark.parametrize(("decay", "eps"), [(None, None), (0.1, 0.01)])
    def test_update_rule(self, rule, decay, eps):
        """Three updates at three rates from the gradients that xfer had; constants are the framework's defaults."""
        model = self.model()
        model.freeze()
        given = {"weight_decay": decay} | ({} if eps is None else {"eps": eps})
        update = TrainingSettings(optimizer=rule, **given).update_spec(LossSpec(), model.spec.numerics)
        stepper = get_backend(self.backend).stepper(model, update)
        start, gradients = model.weights()["fc.weight"].copy(), []
        for i, rate in enumerate(RATES):
            gradients.append(stepper.gradients(images(6, seed=i), labels(6))["fc.weight"])
            stepper.step(images(6, seed=i), labels(6), dict.fromkeys(model.blocks, rate))
        expected = self.updated(rule, decay, eps, start, gradients)
        assert np.abs(model.weights()["fc.weight"] - expected).max() < self.exact

    def updated(self, rule, decay, eps, weight, gradients):
        """The weight after an update with each gradient at each of RATES, SGD with momentum 0.9."""
        raise NotImplementedError

    def test_batch_normalisation(self):
        """Statistics after three batches, and what inference makes with them."""
        model = self.model(head=Head((5,), norm="batch"))
        model.freeze()
        stepper = get_backend(self.backend).stepper(model, TrainingSettings().update_spec(LossSpec()))
        weights, batches = model.weights(), [images(6, seed=i) for i in range(3)]
        hidden = [
            model.stage(batch, "features") @ weights["fc.hidden0.weight"].T + weights["fc.hidden0.bias"]
            for batch in batches
        ]
        for batch in batches:
            stepper.step(batch, labels(6), dict.fromkeys(model.blocks, 0.0))
        mean, variance, normalised = self.normalised(hidden)
        found = model.weights()
        assert np.abs(found["fc.norm0.running_mean"] - mean).max() < EXACT
        assert np.abs(found["fc.norm0.running_var"] - variance).max() < EXACT
        logits = np.maximum(normalised, 0) @ found["fc.out.weight"].T + found["fc.out.bias"]
        assert np.abs(model.logits(batches[0]) - logits).max() < EXACT

    def normalised(self, batches):
        """Running mean and variance after batches (N, D), and the first in inference."""
        raise NotImplementedError

    def test_padding(self):
        model = self.model()
        eps = model.spec.numerics.norm_eps
        width = model.shapes()["bn1.weight"]
        plain = {"weight": np.ones(width), "bias": np.zeros(width), "running_mean": np.zeros(width)}
        plain["running_var"] = np.full(width, 1 - eps)
        model.set_weights({f"bn1.{role}": array for role, array in plain.items()})
        found = model.outputs(images(2), ["input", "stem"])
        expected = np.maximum(self.convolved(found["input"], model.weights()["conv1.weight"]), 0)
        assert np.abs(found["stem"] - expected).max() < EXACT

    def convolved(self, x, weight):
        """(N, H, W, C) by weights (out, in, k, k) at stride 2."""
        raise NotImplementedError

    def test_pixels(self, tmp_path: Path):
        """A file as the framework reads it: half a grey level at most, where the framework does not round."""
        rng = np.random.default_rng(0)
        noise = np.repeat(np.repeat(rng.integers(0, 256, (15, 20, 3)).astype(np.uint8), 4, 0), 4, 1)
        (tmp_path / "photos" / "a").mkdir(parents=True)
        Image.fromarray(noise).save(tmp_path / "photos" / "a" / "x.png")
        recipe = self.model().spec.preprocessing
        assert (recipe.size, recipe.interpolation) == (SIZE, "bilinear")
        found = resize_crop(Image.fromarray(noise), recipe)
        assert np.abs(found.astype(float) - self.pixels(tmp_path / "photos", SIZE)).max() <= 0.5 + 1e-4

    def pixels(self, folder, size):
        """The image in a folder, levels (S, S, 3)."""
        raise NotImplementedError

    def test_normalisation(self):
        model = self.model()
        found = model.outputs(images(2), ["input"])["input"]
        assert np.abs(found - self.scaled(images(2))).max() < 1e-6

    def scaled(self, pixels):
        """The input of a network from uint8 (N, S, S, 3)."""
        raise NotImplementedError

    def test_head(self):
        """The bounds of what is drawn, from a layer of the framework as wide as ours."""
        init = Numerics.habits(FRAMEWORKS[self.backend]).head_init
        ours = Head().initial("fc", 400, 300, 0, init)
        weight, bias = self.initial(400, 300)
        assert np.abs(ours["fc.weight"]).max() == pytest.approx(np.abs(weight).max(), rel=1e-3)
        assert ours["fc.weight"].std() == pytest.approx(weight.std(), rel=1e-2)
        assert np.abs(ours["fc.bias"]).max() == pytest.approx(np.abs(bias).max(), rel=0.05)

    def initial(self, width, out):
        """A new linear layer's weight (out, in) and bias."""
        raise NotImplementedError

    def test_reduction(self):
        weights, y = (1.0, 3.0, 0.25), labels(5)
        model = self.model()
        spec = TrainingSettings().update_spec(LossSpec(class_weights=weights), model.spec.numerics)
        model.freeze()
        loss = get_backend(self.backend).stepper(model, spec).step(images(5), y, dict.fromkeys(model.blocks, 0.0))
        assert loss == pytest.approx(self.loss(model.logits(images(5)), y, np.array(weights)), rel=self.exact)

    def loss(self, logits, y, weights):
        """The framework's loss with class weights."""
        raise NotImplementedError
