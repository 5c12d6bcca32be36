"""Keras's habits, against Keras and TensorFlow."""

import keras
import numpy as np
import tensorflow as tf

from tests.suites.habits import RATES, FrameworkHabits
from xfer.data.sampling import buffered
from xfer.specs.numerics import KERAS_DECAY, KERAS_EPS, PARTS


class TestKeras(FrameworkHabits):
    backend = "tensorflow"
    exact = 5e-6  # 1 - beta is rounded to float32 in the correction of the bias

    def updated(self, rule, decay, eps, weight, gradients):
        variable = keras.Variable(weight, dtype="float64")
        given = {} if decay is None else {"weight_decay": decay}
        given |= {"momentum": 0.9} if rule == "sgd" else {} if eps is None else {"epsilon": eps}
        kind = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}[rule]
        optimizer = kind(1.0, **given)
        for rate, gradient in zip(RATES, gradients, strict=True):
            optimizer.learning_rate = rate
            optimizer.apply([tf.constant(gradient)], [variable])
        return variable.numpy()

    def normalised(self, batches):
        layer = keras.layers.BatchNormalization(dtype="float64")
        for batch in batches:
            layer(batch, training=True)
        found = layer(batches[0], training=False).numpy()
        return layer.moving_mean.numpy(), layer.moving_variance.numpy(), found

    def convolved(self, x, weight):
        layer = keras.layers.Conv2D(len(weight), 3, strides=2, padding="same", use_bias=False, dtype="float64")
        layer.build(x.shape)
        layer.kernel.assign(weight.transpose(2, 3, 1, 0))
        return layer(x).numpy()

    def pixels(self, folder, size):
        data = keras.utils.image_dataset_from_directory(folder, labels=None, image_size=(size, size), verbose=False)
        return next(iter(data))[0].numpy()

    def scaled(self, pixels):
        return keras.applications.imagenet_utils.preprocess_input(pixels.astype(np.float64), mode="tf")

    def initial(self, width, out):
        keras.utils.set_random_seed(0)
        layer = keras.layers.Dense(out)
        layer.build((None, width))
        return layer.kernel.numpy().T, layer.bias.numpy()

    def loss(self, logits, y, weights):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return float(loss(tf.constant(y), tf.constant(logits), sample_weight=weights[y]))


def test_constants_are_keras_defaults():
    assert keras.optimizers.Adam().epsilon == keras.optimizers.AdamW().epsilon == KERAS_EPS
    assert {"adamw": keras.optimizers.AdamW().weight_decay} == KERAS_DECAY
    assert keras.optimizers.Adam().weight_decay is keras.optimizers.SGD().weight_decay is None
    layer = keras.layers.BatchNormalization()
    assert (layer.epsilon, round(1 - layer.momentum, 12)) == (PARTS["norm-eps"].keras, PARTS["norm-momentum"].keras)


def test_a_buffer_shuffles_as_far_as_that_of_tf_data():
    """Both move an element by as much on average, and neither brings one forward by the buffer or more."""
    order, size = np.arange(400), 16
    data = tf.data.Dataset.range(len(order)).shuffle(size, seed=1)
    theirs = np.mean([np.abs(np.array(list(data.as_numpy_iterator())) - order).mean() for _ in range(5)])
    ours = np.mean([np.abs(buffered(order, size, np.random.default_rng(i)) - order).mean() for i in range(5)])
    assert abs(ours / theirs - 1) < 0.1
