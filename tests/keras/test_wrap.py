"""A functional model of one's own, and one of keras.applications, behind BaseModel."""

import keras
import numpy as np
import pytest
from keras import layers

import xfer
from tests.suites.wrapping import IMAGES, Wrapping
from xfer.errors import UsageError
from xfer.specs.decision import softmax


class TestKeras(Wrapping):
    backend = "tensorflow"
    head = "classifier"
    inner = "relu2"

    def native(self):
        keras.utils.set_random_seed(0)
        image = keras.Input((32, 32, 3))
        x = layers.Conv2D(8, 3, 2, padding="same", name="conv1")(image)
        x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="bn1")(x))
        x = layers.SeparableConv2D(16, 3, 2, padding="same", name="conv2")(x)
        x = layers.ReLU(name="relu2")(layers.BatchNormalization(name="bn2")(x))
        x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
        return keras.Model(image, layers.Dense(3, name="classifier")(x))

    def native_logits(self, net, x):
        return net(x, training=False).numpy()

    def test_a_softmax_is_left_out(self):
        image = keras.Input((32, 32, 3))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, name="conv")(image))
        net = keras.Model(image, layers.Dense(3, activation="softmax", name="classifier")(x))
        p = xfer.Preprocessing(32, 32)
        theirs = net((IMAGES / 255.0 - p.mean) / p.std).numpy()
        np.testing.assert_allclose(softmax(self.wrap(net).logits(IMAGES)), theirs, rtol=1e-4, atol=1e-5)

    def test_precision_is_the_networks(self):
        with pytest.raises(UsageError, match="was built in float32"):
            self.wrap(self.native(), precision="fp64")


def test_keras_applications():
    net = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), classes=5)
    model = xfer.wrap(net, backend="tensorflow", head="predictions", classes=["ant", "bee"])
    assert model.spec.preprocessing.size == 64
    assert "block_16_project" in model.blocks
    assert model.logits(np.zeros((2, 64, 64, 3), np.uint8)).shape == (2, 2)
