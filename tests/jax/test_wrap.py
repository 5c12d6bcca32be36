"""A functional Keras model of one's own on JAX."""

import keras
import numpy as np
import pytest
from keras import layers

import xfer
from tests.suites.wrapping import IMAGES, LABELS
from tests.suites.wrapping_keras import KerasWrapping
from xfer.specs.update import UpdateSpec


@pytest.mark.long
class TestJax(KerasWrapping):
    backend = "jax"


class Unused(layers.Layer):
    """A weight that no pass reads."""

    def build(self, shape):
        self.spare = self.add_weight(shape=(3,), initializer="ones", name="spare")

    def call(self, x):
        return x


@pytest.mark.long
def test_a_weight_without_a_gradient_stays_as_in_torch():
    """JAX gives it a gradient of zeros, with which weight decay would change it and its updates would count."""
    image = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(Unused(name="unused")(layers.Conv2D(4, 3, 8, name="conv")(image)))
    net = keras.Model(image, layers.Dense(3, name="classifier")(x))
    model = xfer.wrap(net, backend="jax", head="classifier", image_size=32, device="cpu")
    spec = UpdateSpec(xfer.OptimizerSpec("adamw", weight_decay=0.5), xfer.LossSpec())
    stepper = model.backend.stepper(model, spec)
    stepper.step(IMAGES, LABELS, dict.fromkeys(model.blocks, 0.1))
    np.testing.assert_array_equal(model.weights()["unused.spare"], 1)
    assert stepper.optimizer.counts["unused.spare"] == 0
    assert stepper.optimizer.counts["conv.weight"] == 1
    np.testing.assert_array_equal(stepper.gradients(IMAGES, LABELS)["unused.spare"], 0)
