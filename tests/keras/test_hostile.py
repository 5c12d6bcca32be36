"""Hostile files on Keras, and those that Keras itself writes."""

import keras
import numpy as np
import pytest

from tests.suites.hostile import HostileSuite, refused
from xfer.weights import read_weights


class TestHostile(HostileSuite):
    backend = "tensorflow"


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_that_keras_saved_is_never_made(tmp_path, suffix):
    """The weights beside it are read; the function, which Keras keeps as Python's own code, is not."""
    inputs, dense = keras.Input((2,)), keras.layers.Dense(3, name="dense")
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(dense(inputs)))
    path = tmp_path / f"x{suffix}"
    model.save(path)
    assert b"lambda" in path.read_bytes().lower()
    np.testing.assert_array_equal(read_weights(path)["dense/0"], dense.kernel.numpy())
    assert "resnet50" in refused("resnet50", weights=str(path), backend="tensorflow", device="cpu")
