"""Keras with what docs/differences.md says, beside PyTorch: how far they are apart, as JSON."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch  # before TensorFlow
import torch._dynamo  # loads triton, which cannot be loaded after TensorFlow
from PIL import Image, ImageFilter
from torch import nn
from torch.nn import functional

import keras  # isort: skip
import tensorflow as tf  # isort: skip

RNG = np.random.default_rng(0)
FOUND = {}


def compare(name, ours, theirs):
    ours, theirs = (np.asarray(x.detach() if isinstance(x, torch.Tensor) else x, np.float64) for x in (ours, theirs))
    assert ours.shape == theirs.shape, (name, ours.shape, theirs.shape)
    FOUND[name] = float(np.abs(ours - theirs).max() / np.abs(ours).max())


def last(x):
    """(N, C, H, W) of PyTorch to (N, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def first(x):
    return torch.tensor(x).permute(0, 3, 1, 2)


def pixels():
    noise = Image.fromarray(RNG.integers(0, 256, (200, 300, 3), dtype=np.uint8)).filter(ImageFilter.GaussianBlur(2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jpg"
        noise.save(path, quality=90)
        image = Image.open(path).convert("RGB")
        small = image.resize((64, 64), Image.Resampling.BILINEAR)
        compare("load_img", small, keras.utils.load_img(path, target_size=(64, 64), interpolation="bilinear"))
        compare("decoding", image, tf.io.decode_jpeg(path.read_bytes(), channels=3, dct_method="INTEGER_ACCURATE"))
        found = tf.image.resize(np.asarray(image), (64, 64), antialias=True)
        FOUND["resize, levels"] = float(np.abs(np.asarray(small, np.float64) - found.numpy()).max())
    x = np.asarray(small, np.float32)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    compare(
        "normalisation",
        (x / 255 - mean) / std,
        keras.layers.Normalization(mean=255 * mean, variance=(255 * std) ** 2)(x),
    )


def layers():
    x, w = RNG.normal(size=(2, 16, 16, 3)), RNG.normal(size=(3, 3, 3, 8))
    ours = functional.conv2d(first(x), torch.tensor(w).permute(3, 2, 0, 1), stride=2, padding=1)
    compare("padding", last(ours), keras.ops.conv(keras.layers.ZeroPadding2D(1)(x), w, 2, padding="valid"))
    padded = keras.layers.ZeroPadding2D(1)(x)
    compare(
        "average pooling", last(functional.avg_pool2d(first(x), 3, 1, 1)), keras.layers.AveragePooling2D(3, 1)(padded)
    )
    batch, theirs = nn.BatchNorm2d(3).double(), keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    compare("batch normalisation", last(batch(first(x))), theirs(x, training=True))
    compare("running mean", batch.running_mean, theirs.moving_mean)
    n = x.size // 3
    compare("running variance", (batch.running_var - 0.9) * (n - 1) / n + 0.9, theirs.moving_variance)
    ours = functional.layer_norm(torch.tensor(x), (3,))
    compare("layer normalisation", ours, keras.layers.LayerNormalization(epsilon=1e-5)(x))
    compare("GELU", functional.gelu(torch.tensor(x)), 0.5 * x * (1 + keras.ops.erf(x * 0.5**0.5)))
    compare("leaky ReLU", functional.leaky_relu(torch.tensor(x)), keras.layers.LeakyReLU(0.01)(x))
    dense = RNG.normal(size=(3 * 16 * 16, 5))
    theirs = keras.layers.Flatten()(keras.layers.Permute((3, 1, 2))(x)) @ keras.ops.convert_to_tensor(dense)
    compare("flatten order", first(x).flatten(1) @ torch.tensor(dense), theirs)
    ours = nn.Linear(512, 400)
    kernel = keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")((512, 400))
    compare(
        "initial weights",
        [w := ours.weight.detach().std(), ours.weight.detach().max()],
        [np.std(kernel), np.max(kernel)],
    )
    assert w > 0.02


def losses():
    z, y, w = RNG.normal(size=(8, 3)), np.array([0, 0, 0, 0, 0, 0, 1, 2]), np.array([0.5, 2.0, 2.0])
    ours = functional.cross_entropy(torch.tensor(z), torch.tensor(y), torch.tensor(w))
    summed = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    compare("class weights", [ours], [summed(y, z, sample_weight=w[y]) / w[y].sum()])


def updates(name, rule, theirs, rate=None, decay=0.0):
    start = RNG.normal(size=20)
    ours, variable = torch.tensor(start, requires_grad=True), keras.Variable(start, dtype="float64")
    optimizer = rule([ours])
    for step in range(8):
        gradient = RNG.normal(size=20)
        if rate is not None:
            old, new = float(theirs.learning_rate), rate(step)
            optimizer.param_groups[0]["lr"] = new
            theirs.learning_rate = new
            for velocity in theirs.momentums if theirs.built else ():
                velocity.assign(velocity * (new / old))
        ours.grad = torch.tensor(gradient)
        optimizer.step()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(variable.value * gradient)
            if decay:
                loss += keras.regularizers.L2(decay / 2)(variable.value)
        theirs.apply([tape.gradient(loss, variable.value)], [variable])
    compare(name, ours.detach().numpy() - start, np.asarray(variable) - start)


def all_updates():
    optimizers = keras.optimizers
    falling = lambda step: 0.125 if step < 4 else 0.03125  # noqa: E731
    updates("SGD, falling rate", lambda p: torch.optim.SGD(p, 0.125, 0.875), optimizers.SGD(0.125, 0.875), falling)
    updates("Adam", lambda p: torch.optim.Adam(p, 1e-3), optimizers.Adam(1e-3, epsilon=1e-8))
    coupled = lambda p: torch.optim.Adam(p, 1e-3, weight_decay=0.1)  # noqa: E731
    updates("coupled decay", coupled, optimizers.Adam(1e-3, epsilon=1e-8), decay=0.1)
    decoupled = optimizers.AdamW(1e-3, weight_decay=0.01, epsilon=1e-8)
    updates("AdamW", lambda p: torch.optim.AdamW(p, 1e-3), decoupled)
    adagrad = optimizers.Adagrad(1e-2, initial_accumulator_value=0.0, epsilon=1e-10)
    updates("Adagrad", lambda p: torch.optim.Adagrad(p, 1e-2), adagrad)
    updates("RMSprop", lambda p: torch.optim.RMSprop(p, 1e-3), optimizers.RMSprop(1e-3, rho=0.99, epsilon=1e-16))
    gradients = [RNG.normal(size=9), RNG.normal(size=9) * 0.01]
    tensors = [torch.zeros(9, dtype=torch.float64, requires_grad=True) for _ in gradients]
    for tensor, gradient in zip(tensors, gradients, strict=True):
        tensor.grad = torch.tensor(gradient)
    nn.utils.clip_grad_norm_(tensors, 0.1)
    variables = [keras.Variable(np.zeros(9), dtype="float64") for _ in gradients]
    optimizers.SGD(1.0, global_clipnorm=0.1).apply([tf.constant(g) for g in gradients], variables)
    compare("clipping", torch.cat([-t.grad for t in tensors]), np.concatenate([np.asarray(v) for v in variables]))


if __name__ == "__main__":
    keras.config.set_floatx("float64")
    for part in (pixels, layers, losses, all_updates):
        part()
    json.dump(FOUND, sys.stdout)
