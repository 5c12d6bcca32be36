"""Precision "auto" and bfloat16 on JAX; float64 in the passes of float64 models alone."""

import re

import jax
import keras
import numpy as np
import pytest
from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

import xfer
from tests.suites.precision import Precision
from xfer.specs.inputs import Inputs
from xfer.zoo import cards

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
FAMILIES = {c.family for c in cards()}
SMALLEST = [min((c for c in cards() if c.family == family), key=lambda c: c.parameters) for family in FAMILIES]


@pytest.mark.long
class TestJax(Precision):
    backend = "jax"


def types(model, size):
    """Floating-point types of all values that a training pass computes."""
    pixels = np.zeros((2, size, size, 3), np.uint8)
    with model.placed(), keras.StatelessScope():
        traced = jax.make_jaxpr(lambda x: [z for _, z in model.forward(Inputs(x))])(pixels)
    return set(re.findall(r"\b(b?f(?:16|32|64))\[", str(traced)))


@pytest.mark.parametrize("precision", ["fp32", "fp64", "bf16"])
def test_a_model_computes_in_its_own_precision(precision):
    """Also where the user has switched float64 on."""
    with jax.enable_x64(True):
        model = xfer.load("tiny", backend="jax", weights=None, classes=2, image_size=32, precision=precision)
        expected = {"fp32": {"f32"}, "fp64": {"f64"}, "bf16": {"f32", "bf16"}}[precision]
        assert types(model, 32) == expected
        model.freeze()
        assert model.logits(IMAGES).dtype == (np.float64 if precision == "fp64" else np.float32)


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize("card", sorted(SMALLEST, key=lambda c: c.name), ids=lambda c: c.name)
def test_every_family_computes_in_one_precision(card, precision):
    size = -(-max(64, card.size_smallest) // card.size_multiple) * card.size_multiple
    options = {"weights": None, "classes": 2, "image_size": size, "precision": precision, "device": "cpu"}
    assert types(xfer.load(card.name, backend="jax", **options), size) == {f"f{precision[2:]}"}


def test_float64_is_as_the_user_had_it_before_and_after():
    before = dict(BIT64_TO_BIT32_DTYPE)
    model = xfer.load("tiny", backend="jax", weights=None, classes=2, image_size=32, precision="fp64")
    with model.placed():
        assert BIT64_TO_BIT32_DTYPE["float64"] == "float64"
        assert jax.numpy.zeros(1).dtype == np.float64
    assert before == BIT64_TO_BIT32_DTYPE
    assert before["float64"] == "float32"
    assert jax.numpy.zeros(1).dtype == np.float32
