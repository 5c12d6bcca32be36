"""A functional model of one's own, and one of keras.applications, behind BaseModel."""

import keras
import numpy as np
from keras import layers

import xfer
from tests.suites.wrapping_keras import KerasWrapping


class TestKeras(KerasWrapping):
    backend = "tensorflow"


def test_keras_applications():
    net = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), classes=5)
    model = xfer.wrap(net, backend="tensorflow", head="predictions", classes=["ant", "bee"])
    assert model.spec.preprocessing.size == 64
    assert "block_16_project" in model.blocks
    assert model.logits(np.zeros((2, 64, 64, 3), np.uint8)).shape == (2, 2)


@keras.saving.register_keras_serializable()
class Alike(layers.Layer):
    """Variables of its own with one name, and with the name that a second of them would get."""

    def build(self, shape):
        names = ("w_2", "w", "w")
        self.mine = [self.add_weight(shape=(shape[-1],), initializer="ones", name=name) for name in names]

    def call(self, x):
        return x * sum(self.mine)


def test_variables_of_one_name_are_all_kept():
    image = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(Alike(name="alike")(layers.Conv2D(4, 3, name="conv")(image)))
    native = keras.Model(image, layers.Dense(3, name="classifier")(x))
    model = xfer.wrap(native, backend="tensorflow", head="classifier")
    names = [name for name in model.weights() if name.startswith("alike.")]
    assert names == ["alike.w_2", "alike.w", "alike.w_1"]
