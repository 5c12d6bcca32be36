"""Random functional models of Keras for `RandomNetworks`, on any engine: tests/keras and tests/jax subclass it."""

import keras
import numpy as np
from keras import layers

from tests.suites.random_networks import SIZE, RandomNetworks

WIDTH = 4


@keras.saving.register_keras_serializable()
class Composite(layers.Layer):
    """Layers inside a layer."""

    def __init__(self, **options):
        super().__init__(**options)
        self.conv, self.again = layers.Conv2D(WIDTH, 3, padding="same"), layers.Conv2D(WIDTH, 1)
        self.norm, self.drop = layers.BatchNormalization(), layers.Dropout(0.2)

    def build(self, shape):
        self.gain = self.add_weight(shape=(1, WIDTH), initializer="ones", name="gain")
        self.level = self.add_weight(shape=(1, WIDTH), initializer="random_normal", trainable=False, name="level")
        for layer in (self.conv, self.again, self.norm):
            layer.build(shape)

    def call(self, x, training=None):
        y = self.norm(self.again(self.conv(x)), training=training)
        return x * self.gain + self.drop(y, training=training) + self.level


class Spectral(layers.SpectralNormalization):
    def __init__(self):
        super().__init__(layers.Conv2D(WIDTH, 3, padding="same"))


def nested():
    image = keras.Input((None, None, WIDTH))
    x = layers.Conv2D(WIDTH, 3, padding="same", name="conv")(image)
    x = layers.Dropout(0.2)(layers.BatchNormalization(name="norm")(x))
    return keras.Model(image, x)


def branches(x):
    """Two nested models whose layers have the same names."""
    return layers.Add()([nested()(x), nested()(x)])


def shared(x):
    conv = layers.Conv2D(WIDTH, 1)
    return conv(layers.ReLU()(conv(x)))


def adapted():
    layer = layers.Normalization(mean=np.linspace(0.1, 0.4, WIDTH), variance=np.ones(WIDTH))
    layer.build((None, None, None, WIDTH))
    return layer


KINDS = {
    "conv": lambda: layers.Conv2D(WIDTH, 3, padding="same"),
    "separable": lambda: layers.SeparableConv2D(WIDTH, 3, padding="same"),
    "depthwise": lambda: layers.DepthwiseConv2D(3, padding="same"),
    "sequence": lambda: keras.Sequential([layers.Conv2D(WIDTH, 1), layers.BatchNormalization(), layers.ReLU()]),
    "batch norm": lambda: layers.BatchNormalization(),
    "plain batch norm": lambda: layers.BatchNormalization(center=False, scale=False),
    "layer norm": lambda: layers.LayerNormalization(),
    "group norm": lambda: layers.GroupNormalization(2),
    "dropout": lambda: layers.Dropout(0.2),
    "spatial dropout": lambda: layers.SpatialDropout2D(0.2),
    "rotation": lambda: layers.RandomRotation(0.1),
    "tanh": lambda: layers.Activation("tanh"),
    "composite": Composite,
    "spectral": Spectral,
    "adapted": adapted,
    "nested": nested,
    "branches": lambda: branches,
    "shared": lambda: shared,
}


class KerasRandomNetworks(RandomNetworks):
    """Set `backend`."""

    def build(self, plan, seed):
        keras.utils.set_random_seed(seed)
        image = keras.Input((SIZE, SIZE, 3))
        x = layers.Conv2D(WIDTH, 3, 2, padding="same", name=("stem", "head", "features")[plan.seed % 3])(image)
        for kind in plan.layers:
            x = KINDS[kind]()(x)
        x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
        return keras.Model(image, layers.Dense(5, use_bias=plan.seed % 2 == 0, name="logits")(x)), "logits"

    def state(self, native):
        """By the number of the layer in the model, because names may be there twice."""
        layers_of = [(i, layer) for i, layer in enumerate(native.layers) if layer.name != "logits"]
        return {
            f"{i}/{j}/{variable.name}": np.array(variable)
            for i, layer in layers_of
            for j, variable in enumerate(layer.weights)
        }

    def block_of(self, model, plan, name):
        return self.order(model).index(int(name.split("/")[0]))

    def order(self, model):
        """Numbers of the layers that have weights: the blocks, in order."""
        return [i for i, layer in enumerate(model._whole.layers) if layer.weights and layer.name != "logits"]

    def trained(self, name):
        return not any(word in name for word in ("level", "sn_u", "vector_u", "mean", "variance"))
