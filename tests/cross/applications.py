"""A process of the test of Keras's weights: a network of keras.applications, saved by Keras itself, and its logits.

usage: python applications.py OUT NAME:SIZE...
"""

import sys
import zlib
from pathlib import Path

import keras
import numpy as np


def lively(model):
    """Statistics and biases away from 0 and 1, so that every constant shows."""
    for variable in model.weights:
        rng = np.random.default_rng(zlib.crc32(variable.path.encode()))
        value = np.asarray(variable)
        if variable.name == "moving_variance":
            variable.assign(value * rng.uniform(1.0, 3.0, value.shape))
        elif variable.name != "kernel":
            variable.assign(value + 0.2 * rng.standard_normal(value.shape))


def main(out, *models):
    keras.config.set_floatx("float64")
    for model in models:
        name, size = model.split(":")
        shape = (int(size), int(size), 3)
        net = getattr(keras.applications, name)(weights=None, input_shape=shape, classifier_activation=None)
        lively(net)
        module = getattr(keras.applications, MODULES.get(name, name.lower()))
        images = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.uint8)
        np.save(Path(out, f"{name}.npy"), net(module.preprocess_input(images.astype(np.float64)), training=False))
        net.save(Path(out, f"{name}.h5"))
        if name != "VGG16":
            net.save_weights(Path(out, f"{name}.weights.h5"))
        if name == "MobileNetV2":
            nested = keras.Sequential([net])  # as under a new head
            nested.save(Path(out, f"{name}.nested.h5"))
            nested.save(Path(out, f"{name}.nested.keras"))


MODULES = {
    "ResNet50": "resnet",
    "InceptionV3": "inception_v3",
    "MobileNetV2": "mobilenet_v2",
    "DenseNet121": "densenet",
}

if __name__ == "__main__":
    main(*sys.argv[1:])
