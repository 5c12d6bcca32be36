"""Functional models of Keras for `Wrapping`, on any engine: tests/keras and tests/jax subclass it."""

import keras
import numpy as np
import pytest
from keras import layers

import xfer
from tests.suites.wrapping import IMAGES, LABELS, Wrapping
from xfer.errors import UsageError
from xfer.specs.decision import softmax
from xfer.specs.update import UpdateSpec


class KerasWrapping(Wrapping):
    """Set `backend`."""

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
        return np.asarray(net(x, training=False))

    def variant(self, activation="relu", ending="", channels=3, bias=True):
        keras.utils.set_random_seed(0)
        image = keras.Input((32, 32, channels))
        x = layers.Activation(activation, name="activation")(layers.Conv2D(8, 3, name="conv")(image))
        z = layers.Dense(3, use_bias=bias, name="classifier")(layers.GlobalAveragePooling2D(name="mean")(x))
        ends = {"": lambda: z, "softmax": lambda: layers.Softmax()(z), "scale": lambda: layers.Rescaling(3.0)(z)}
        return keras.Model(image, [z, z * 2] if ending == "two" else ends[ending]())

    def dropped(self):
        keras.utils.set_random_seed(0)
        image, block = keras.Input((32, 32, 3)), keras.Input((30, 30, 8))
        inner = keras.Model(block, layers.Dropout(0.5, name="drop")(layers.Conv2D(8, 1)(block)), name="inner")
        x = layers.GlobalAveragePooling2D()(inner(layers.Conv2D(8, 3, name="other")(image)))
        return keras.Model(image, layers.Dense(3, name="classifier")(layers.Dropout(0.5, name="root")(x)))

    def detached(self):
        image = keras.Input((32, 32, 3))
        x = layers.Lambda(keras.ops.stop_gradient, name="stop")(layers.Conv2D(8, 3, name="cut")(image))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 1, name="after")(x))
        return keras.Model(image, layers.Dense(3, name="classifier")(x))

    def live_layers(self, model):
        whole = model._whole
        inner = whole.get_layer("inner").get_layer("drop")
        assert model._has_trainable("features")
        return {"root": whole.get_layer("root").rate > 0, "inner": inner.rate > 0}

    def test_names_do_not_depend_on_what_was_built_before(self, tmp_path):
        model = self.wrap(self.anonymous(), classes=3)
        model.save(tmp_path / "run")
        again = self.wrap(self.anonymous(), weights=tmp_path / "run")
        assert list(again.shapes()) == list(model.shapes())
        assert "conv2d_1.weight" in model.shapes()
        np.testing.assert_array_equal(again.logits(IMAGES), model.logits(IMAGES))

    def anonymous(self):
        """Keras numbers its layers over the life of the process."""
        image = keras.Input((32, 32, 3))
        x = layers.BatchNormalization()(layers.Conv2D(4, 3)(layers.Conv2D(4, 3)(image)))
        return keras.Model(image, layers.Dense(3, name="classifier")(layers.GlobalAveragePooling2D()(x)))

    def test_random_layers_are_seeded_like_the_rest(self):
        def losses():
            keras.utils.set_random_seed(0)
            image = keras.Input((32, 32, 3))
            x = layers.Conv2D(4, 3, name="conv")(layers.RandomRotation(0.3, fill_mode="constant")(image))
            net = keras.Model(image, layers.Dense(3, name="classifier")(layers.GlobalMaxPooling2D()(x)))
            model = self.wrap(net)
            stepper = model.backend.stepper(model, UpdateSpec(xfer.OptimizerSpec("sgd"), xfer.LossSpec()))
            return [float(stepper.step(IMAGES, LABELS, dict.fromkeys(model.blocks, 0.0), seed=s)) for s in (1, 2, 1)]

        first = losses()
        assert first == losses()
        assert first[0] == first[2] != first[1]

    def test_a_softmax_is_left_out(self):
        image = keras.Input((32, 32, 3))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, name="conv")(image))
        net = keras.Model(image, layers.Dense(3, activation="softmax", name="classifier")(x))
        p = xfer.Preprocessing(32, 32)
        theirs = np.asarray(net((IMAGES / 255.0 - p.mean) / p.std))
        np.testing.assert_allclose(softmax(self.wrap(net).logits(IMAGES)), theirs, rtol=1e-4, atol=1e-5)

    def test_precision_is_the_networks(self):
        with pytest.raises(UsageError, match="was built in float32"):
            self.wrap(self.native(), precision="fp64")
