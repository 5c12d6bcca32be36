"""Precision "auto" and bfloat16 with float32 where it matters; tests/torch and tests/keras subclass it."""

import numpy as np
import pytest

import xfer
from xfer.models import precision
from xfer.models.backend import get_backend
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.rates import block_rates
from xfer.specs.update import UpdateSpec

IMAGES = np.random.default_rng(5).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


class Precision:
    """Set `backend`."""

    backend: str

    @pytest.fixture(autouse=True)
    def fast(self, monkeypatch, tmp_path):
        """A machine that is fast at bfloat16, and has no verdicts yet."""
        monkeypatch.setattr(type(get_backend(self.backend)), "fast_bf16", lambda self, spec: True)
        monkeypatch.setenv("XFER_FEATURES", str(tmp_path / "features"))
        self.monkeypatch = monkeypatch

    def model(self, name="tiny", **options):
        options = {"weights": None, "classes": 3, "image_size": 32} | options
        return xfer.load(name, backend=self.backend, **options)

    def test_auto_is_bf16_if_the_features_of_the_first_images_agree(self):
        model, full = self.model(), self.model(precision="fp32")
        assert (model.undecided, model.spec.precision) == (True, "fp32")
        found = model.features(IMAGES)
        assert (model.undecided, model.spec.precision) == (False, "bf16")
        expected = full.features(IMAGES)
        assert precision.cosines(found, expected).min() >= 0.999
        assert np.abs(found - expected).max() > 0, "bf16 was not used"

    def test_auto_is_float32_and_says_so_if_they_do_not(self, capsys):
        self.monkeypatch.setattr(precision, "LEAST_COSINE", 1.0)
        model = self.model()
        np.testing.assert_array_equal(model.features(IMAGES), self.model(precision="fp32").features(IMAGES))
        assert model.spec.precision == "fp32"
        assert "stays in float32" in capsys.readouterr().err

    def test_the_verdict_is_remembered_for_these_weights_alone(self):
        self.model().features(IMAGES)
        self.monkeypatch.setattr(precision, "_agree", lambda name, features: pytest.fail("computed again"))
        model = self.model(classes=5)  # another head on the same backbone
        model.features(IMAGES)
        assert model.spec.precision == "bf16"
        other = self.model(seed=1)
        with pytest.raises(pytest.fail.Exception, match="computed again"):
            other.features(IMAGES)

    def test_training_decides_too_before_the_first_step(self):
        model = self.model()
        stepper = model.backend.stepper(model, UpdateSpec(OptimizerSpec(), LossSpec()))
        stepper.step(IMAGES, LABELS, block_rates(1e-3, model.blocks))
        assert model.spec.precision == "bf16"

    def test_weights_statistics_slots_and_the_head_are_float32(self):
        model = self.model(precision="bf16")
        stepper = model.backend.stepper(model, UpdateSpec(OptimizerSpec(), LossSpec()))
        before = model.weights()
        stepper.step(IMAGES, LABELS, block_rates(1e-2, model.blocks))
        for name, array in (model.weights() | stepper.state()).items():
            if name.startswith("step/") or not array.any():
                continue
            assert array.dtype == np.float32
            changed = name not in before or not np.array_equal(before[name], array)
            assert changed, f"{name} was not trained"
            # In bfloat16, the lower 16 bits of every number would be 0.
            assert (array.view(np.uint32) & 0xFFFF).any(), f"{name} has been through bfloat16"
        weights, features = model.weights(), model.stage(IMAGES, "features")
        expected = features @ weights["fc.weight"].T + weights["fc.bias"]
        np.testing.assert_allclose(model.logits(IMAGES), expected, rtol=1e-5, atol=1e-5)

    def test_changing_the_precision_changes_it_and_back(self):
        model = self.model(precision="fp32")
        full = model.features(IMAGES)
        model.set_precision("bf16")
        assert np.abs(model.features(IMAGES) - full).max() > 0
        model.set_precision("fp32")
        np.testing.assert_array_equal(model.features(IMAGES), full)

    def test_a_run_keeps_its_precision_where_the_machine_is_fast_at_it(self, tmp_path):
        decided, undecided = self.model(), self.model()
        decided.features(IMAGES)
        decided.save(tmp_path / "decided")
        undecided.save(tmp_path / "undecided")
        again = xfer.load(tmp_path / "decided", backend=self.backend)
        assert (again.undecided, again.spec.precision) == (False, "bf16")
        assert xfer.load(tmp_path / "undecided", backend=self.backend).undecided
        assert xfer.load(tmp_path / "decided", backend=self.backend, precision="fp32").spec.precision == "fp32"
        self.monkeypatch.setattr(type(decided.backend), "fast_bf16", lambda self, spec: False)
        assert xfer.load(tmp_path / "decided", backend=self.backend).spec.precision == "fp32"
        assert xfer.load(tmp_path / "decided", backend=self.backend, precision="bf16").spec.precision == "bf16"

    def test_auto_is_float32_where_bf16_is_not_fast(self):
        self.monkeypatch.setattr(type(get_backend(self.backend)), "fast_bf16", lambda self, spec: False)
        model = self.model()
        model.features(IMAGES)
        assert (model.undecided, model.spec.precision) == (False, "fp32")
