"""Files that Keras wrote, other than those of keras.applications as they are (tests/cross/test_keras_weights.py)."""

import keras
import numpy as np
import pytest

import xfer
from xfer.errors import WeightsError

OPTIONS = {"backend": "tensorflow", "device": "cpu", "image_size": 64}


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_the_zoos_own_networks(tmp_path, suffix):
    """`model.native` is a Keras model, which saves itself under the canonical names of its layers."""
    model = xfer.load("squeezenet1_1", weights=None, classes=3, seed=1, **OPTIONS)
    path = tmp_path / f"x{suffix}"
    (model.native.save_weights if suffix == ".weights.h5" else model.native.save)(path)
    again = xfer.load("squeezenet1_1", weights=path, **OPTIONS)
    assert again.classes == ("0", "1", "2")
    weights = again.weights()
    assert all(np.array_equal(array, weights[name]) for name, array in model.weights().items())


def test_a_network_of_keras_applications_under_a_head_of_ones_own(tmp_path, capsys):
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3))
    whole = keras.Sequential([base, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)])
    whole.save(path := tmp_path / "x.keras")
    model = xfer.load("mobilenet_v2", weights=path, classes=["ant", "bee"], **OPTIONS)
    assert model.name == "keras_mobilenet_v2"
    assert "left out what keras_mobilenet_v2 does not have: dense" in capsys.readouterr().err
    kernel = base.get_layer("block_16_project").kernel.numpy()
    assert np.array_equal(model.weights()["features.17.conv.2.weight"], kernel.transpose(3, 2, 0, 1))
    with pytest.raises(WeightsError, match=r"has no head .*: give classes= for a new one"):
        xfer.load("mobilenet_v2", weights=path, **OPTIONS)


@pytest.mark.long
def test_the_nearest_network_of_keras_applications_is_named(tmp_path):
    net = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3))
    net.save(path := tmp_path / "x.keras")
    with pytest.raises(WeightsError, match=r"is not a keras_mobilenet: .*; it fits keras_mobilenet_v2$"):
        xfer.load("keras_mobilenet", weights=path, classes=2, **OPTIONS)


@pytest.mark.long
def test_layers_that_no_convolutional_network_has_are_refused(tmp_path):
    model = xfer.load("vit_b_32", weights=None, backend="tensorflow", device="cpu", image_size=32)
    model.native.save_weights(path := tmp_path / "x.weights.h5")
    with pytest.raises(WeightsError, match=r"is no convolution, dense layer or normalisation .* read from a run"):
        xfer.load("vit_b_32", weights=path, backend="tensorflow", device="cpu", image_size=32)
