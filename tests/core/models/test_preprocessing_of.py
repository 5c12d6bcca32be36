"""What `xfer inspect` says of preprocessing is what `xfer.load` gives a model."""

from dataclasses import replace

import numpy as np
import pytest

import xfer
from xfer.errors import UnknownNameError, UsageError
from xfer.models.factory import preprocessing_of
from xfer.models.spec import ModelSpec
from xfer.specs.head import Head
from xfer.testing.numpy_backend import NumpyBackend


@pytest.mark.parametrize(
    "options",
    [{}, {"image_size": 48}, {"missing_pixels": "mean", "decode": "draft"}],
    ids=lambda options: ",".join(options) or "none",
)
def test_as_load(tmp_path, options):
    fresh = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=2, **options)
    assert preprocessing_of("tiny", weights=None, **options) == fresh.spec.preprocessing
    run = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=2, image_size=40).save(tmp_path / "run")
    again = xfer.load("tiny", backend=NumpyBackend(), weights=run, **options)
    assert preprocessing_of("tiny", weights=run, **options) == again.spec.preprocessing


def test_both_sides_resized(tmp_path):
    """Digests of runs that do not have it are those of before; a run keeps it."""
    squashed = xfer.Preprocessing(32, 36, squash=True)
    assert squashed.described() == {**xfer.Preprocessing(32, 36).described(), "squash": True}
    assert "squash" not in xfer.Preprocessing(32, 36).described()
    card = replace(xfer.zoo.card("tiny"), preprocessing=squashed)
    spec = ModelSpec(card, Head(), ("a", "b"), squashed, "fp32")
    model = NumpyBackend().build(spec)
    model.set_weights({name: np.zeros(shape, np.float32) for name, shape in model.shapes().items()})
    model.save(tmp_path / "run")
    assert xfer.load(tmp_path / "run", backend=NumpyBackend()).spec.preprocessing == squashed


def test_of_published_weights_without_reading_them(monkeypatch):
    monkeypatch.setattr("xfer.weights.source.fetch", lambda *a, **k: pytest.fail("downloads"))
    card = xfer.zoo.card("resnet50")
    assert preprocessing_of("resnet50") == card.preprocessing_for(card.weights[0].name)
    assert preprocessing_of("resnet50", weights="IMAGENET1K_V1") == card.preprocessing_for("IMAGENET1K_V1")
    assert preprocessing_of("resnet50", weights="keras") == xfer.zoo.keras_card("resnet50").preprocessing
    for options, error in (
        ({"weights": "IMAGENET1K_V9"}, UnknownNameError),
        ({"image_size": 4}, UsageError),
    ):
        with pytest.raises(error):
            preprocessing_of("resnet50", **options)
    with pytest.raises(UsageError, match="give"):
        preprocessing_of("vit_b_16", image_size=225)
