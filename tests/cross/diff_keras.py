"""Plain Keras training, recorded: `python diff_keras.py runs.json FOLDER`; a fault is an option of a run."""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"

import diff_data
import keras
import numpy as np
import tensorflow as tf
from keras import layers

import xfer


def network(o):
    eps, momentum = o.get("eps", 1e-5), 1 - o.get("momentum", 0.1)
    activation = "relu" if o.get("relu") else "gelu"
    if o.get("gelu_tanh"):
        activation = lambda v: keras.activations.gelu(v, approximate=True)  # noqa: E731
    inputs = x = keras.Input((16, 16, 3))
    if o.get("same"):
        x = layers.Conv2D(8, 3, strides=2, padding="same")(x)
    else:
        x = layers.Conv2D(8, 3, strides=2)(layers.ZeroPadding2D(1)(x))
    x = layers.BatchNormalization(epsilon=eps, momentum=momentum)(x)
    x = layers.Activation(activation)(x)
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.BatchNormalization(epsilon=eps, momentum=momentum)(x)
    x = layers.ReLU()(x)
    x = layers.AveragePooling2D(2)(x) if o.get("average") else layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(o["dropout"])(x) if o.get("dropout") else x
    x = layers.Dense(16, activation="relu")(x)
    model = keras.Model(inputs, layers.Dense(4, activation="softmax" if o.get("softmax") else None)(x))
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = bool(o.get("live"))
    if o.get("frozen"):
        next(x for x in model.layers[::-1] if isinstance(x, layers.Conv2D)).trainable = False
    return model


def load(model, o):
    """Weights in Keras's layouts; the rows of the first dense layer follow its flattening, but for the fault."""
    w = diff_data.weights()
    names = iter(("conv1", "bn1", "conv2", "bn2", "fc1", "fc2"))
    for layer in model.layers:
        if not layer.weights:
            continue
        name = next(names)
        kernel = w[f"{name}.weight"]
        if name == "fc1" and not o.get("flatten"):
            kernel = kernel.reshape(16, 8, 4, 4).transpose(0, 2, 3, 1).reshape(16, 128)
        kernel = {4: kernel.T if kernel.ndim != 4 else kernel.transpose(2, 3, 1, 0), 2: kernel.T, 1: kernel}[
            kernel.ndim
        ]
        state = [w[f"{name}.running_mean"], w[f"{name}.running_var"]] if name.startswith("bn") else []
        layer.set_weights([kernel, w[f"{name}.bias"], *state])


def optimizer_of(o):
    rate = o.get("lr", 0.05)
    if o.get("schedule"):
        rate = keras.optimizers.schedules.PolynomialDecay(0.05, 4, end_learning_rate=0.0)
    more = {"weight_decay": o.get("decay"), "clipnorm": o.get("clip_variable"), "global_clipnorm": o.get("clip")}
    if o.get("adam"):
        return keras.optimizers.Adam(0.01, epsilon=o.get("adam_eps", 1e-7), **more)
    if o.get("adamw"):
        return keras.optimizers.AdamW(0.01, **more)
    return keras.optimizers.SGD(rate, momentum=o.get("mu", 0.9), nesterov=bool(o.get("nesterov")), **more)


def train(o, out):
    dtype = "float64" if o.get("float64") else "float32"
    keras.config.set_floatx(dtype)  # constants too, such as the momentum, have it
    keras.config.set_dtype_policy(dtype)
    keras.utils.set_random_seed(0)
    model = network(o)
    load(model, o)
    optimizer = optimizer_of(o)
    logits = not o.get("softmax") and not o.get("probabilities")
    reduction = {"mean": "sum_over_batch_size", "sum": "sum"}[o.get("reduction", "mean")]
    if o.get("smoothing"):
        loss = keras.losses.CategoricalCrossentropy(
            from_logits=logits, label_smoothing=o["smoothing"], reduction=reduction
        )
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits, reduction=reduction)
    return (tape if o.get("mode", "tape") in ("tape", "function") else fit)(o, model, optimizer, loss, out)


def targets(o, labels):
    return np.eye(4)[labels] if o.get("smoothing") else labels


def fit(o, model, optimizer, loss, out):
    losses = []
    model.compile(optimizer, loss, run_eagerly=o["mode"] == "fit", jit_compile=o["mode"] == "xla")
    seen = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: losses.append(logs["loss"]))
    found, weights = list(diff_data.batches(o)), o.get("weights")
    x = np.concatenate([images for images, _, _ in found])
    y = np.concatenate([targets(o, labels) for _, labels, _ in found])
    recorder = xfer.record(model, out=out) if out else nullcontext()
    called = o["mode"] == "callback" and out
    callbacks = [seen, recorder.callback] if called else [seen]
    with nullcontext() if called else recorder:
        model.fit(
            x,
            y,
            batch_size=8,
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
            class_weight=weights and dict(enumerate(weights)),
        )
    return losses, model.get_weights()


def tape(o, model, optimizer, loss, out):
    def step(x, y):
        with tf.GradientTape() as gradients:
            value = loss(y, model(x, training=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(gradients.gradient(value, variables), variables, strict=True))
        return value

    step = tf.function(step) if o.get("mode") == "function" else step
    losses = []
    with xfer.record(model, optimizer, out) if out else nullcontext() as recorder:
        for images, labels, raw in diff_data.batches(o):
            x, y = tf.constant(images), tf.constant(targets(o, labels))
            value = step(x, y)
            losses.append(float(value))
            if recorder:
                recorder.step(x, y, value, raw=raw if o.get("raw") else ())
    return losses, model.get_weights()


if __name__ == "__main__":
    runs, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    for name, options in runs.items():
        losses, weights = train(options, folder / name)
        if options.get("plain"):  # the same run without a recorder
            losses_alone, weights_alone = train(options, None)
            same = losses == losses_alone and all(map(np.array_equal, weights, weights_alone))
            (folder / name / "same.txt").write_text(str(same))
