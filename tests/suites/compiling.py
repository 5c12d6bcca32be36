"""What a framework's compiler makes computes the same; tests/torch and tests/keras subclass it."""

import numpy as np

import xfer
from xfer.models import compilation
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.update import UpdateSpec

IMAGES = np.random.default_rng(5).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


class Compiling:
    """Set `backend` and `traced`, which says how much the compiler has taken so far."""

    backend: str

    def traced(self, model):
        raise NotImplementedError

    def test_compiled_inference_and_training_are_the_same(self, monkeypatch):
        def always(work, once, compiled, deterministic):
            compiled[work] = True

        monkeypatch.setattr(compilation, "choose", always)
        results = []
        for compiled in (False, True):
            model = xfer.load(
                "tiny", backend=self.backend, weights=None, classes=3, image_size=16, precision="fp32", compile=compiled
            )
            before = self.traced(model)
            stepper = model.backend.stepper(model, UpdateSpec(OptimizerSpec("sgd", momentum=0.0), LossSpec()))
            found = [model.logits(IMAGES), model.logits(IMAGES[:4])]
            for _ in range(2):
                stepper.step(IMAGES, LABELS, dict.fromkeys(model.blocks, 0.1))
            results.append([*found, *model.weights().values()])
            assert (self.traced(model) > before) == compiled
        for plain, fast in zip(*results, strict=True):
            np.testing.assert_allclose(fast, plain, rtol=1e-4, atol=1e-5)
