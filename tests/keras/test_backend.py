"""The Keras backend against brute force in NumPy, and against Keras itself."""

import keras
import numpy as np
import pytest

from xfer import Head, LossSpec, OptimizerSpec, Trainer, load
from xfer.data import Split
from xfer.errors import BackendError, DeviceError, NumbersError, UsageError
from xfer.features.gan import GanSpec, generated
from xfer.specs.rates import block_rates
from xfer.specs.update import UpdateSpec
from xfer_keras_nets.layers import AdaptiveAveragePooling, BatchNorm, max_pool

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def tiny(**options):
    return load("tiny", backend="tensorflow", weights=None, classes=3, image_size=32, **options)


def test_batch_norm_keeps_unbiased_statistics():
    x = np.random.default_rng(1).normal(2, 3, (4, 5, 6, 2))
    layer = BatchNorm(0.2, 1e-3, dtype="float64")
    out = layer(x, training=True).numpy()
    flat = x.reshape(-1, 2)
    np.testing.assert_allclose(out, (x - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-3), rtol=1e-9)
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.2 * flat.mean(0), rtol=1e-9)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.8 + 0.2 * flat.var(0, ddof=1), rtol=1e-9)
    kept = layer.moving_mean.numpy().copy()
    layer.trainable = False
    frozen = layer(x, training=True).numpy()
    np.testing.assert_array_equal(layer.moving_mean.numpy(), kept)
    np.testing.assert_allclose(frozen, layer(x, training=False).numpy())


@pytest.mark.parametrize("pixels", [1, 2, 3, 7, 9, 13, 14])
def test_adaptive_pooling_by_loops(pixels):
    x = np.random.default_rng(2).normal(size=(2, pixels, pixels + 1, 3))
    out = AdaptiveAveragePooling(7, dtype="float64")(x).numpy()
    assert out.shape == (2, 7, 7, 3)

    def bounds(i, size):
        return int(np.floor(i * size / 7)), int(np.ceil((i + 1) * size / 7))

    for i, j in np.ndindex(7, 7):
        (a, b), (c, d) = bounds(i, pixels), bounds(j, pixels + 1)
        np.testing.assert_allclose(out[:, i, j], x[:, a:b, c:d].mean((1, 2)), rtol=1e-9)


def test_padded_max_pool_after_relu():
    x = np.abs(np.random.default_rng(3).normal(size=(1, 5, 5, 2)))
    entry = keras.Input((5, 5, 2), dtype="float64")
    out = keras.Model(entry, max_pool(entry, "pool", 3, 2, pad=1))(x).numpy()
    lowest = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    for i, j in np.ndindex(3, 3):
        np.testing.assert_allclose(out[:, i, j], lowest[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2)), rtol=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "vgg11_bn", "tiny"])
def test_native_is_one_flat_keras_model_with_canonical_layer_names(name, tmp_path):
    model = load(name, backend="tensorflow", weights=None, classes=3, image_size=32, precision="fp32")
    normalised = model.normalise(IMAGES)
    np.testing.assert_allclose(model.native(normalised).numpy(), model.logits(IMAGES), rtol=1e-4, atol=1e-5)
    layers = {tensor.rsplit(".", 1)[0] for tensor in model.shapes()}
    assert layers <= {layer.name for layer in model.native.layers}
    if name != "vgg11_bn":  # half a gigabyte
        model.native.save(tmp_path / "native.keras")
        again = keras.models.load_model(tmp_path / "native.keras")
        np.testing.assert_allclose(again(normalised).numpy(), model.native(normalised).numpy(), rtol=1e-6)


def test_the_users_policy_is_left_alone():
    before = keras.config.dtype_policy().name
    tiny(precision="bf16").features(IMAGES)
    assert keras.config.dtype_policy().name == before


def test_one_trace_for_all_batch_sizes_and_one_more_for_another_plan():
    model = tiny()
    stepper = model.backend.stepper(model, UpdateSpec(OptimizerSpec("sgd"), LossSpec()))
    rates = block_rates(1e-2, model.blocks)
    for number in (6, 4, 6):
        stepper.step(IMAGES[:number], LABELS[:number], rates)
    assert traces(stepper) == [1]
    model.freeze("stem")
    stepper.step(IMAGES, LABELS, rates)
    assert traces(stepper) == [1], "a new plan has a new function, traced once"


def traces(stepper):
    """How often each compiled function was traced."""
    return [function.experimental_get_tracing_count() for function in stepper._compiled.values()]


def operations(stepper):
    """Kinds of operations in the traced step."""
    (step,) = stepper._compiled.values()
    graph = step.get_concrete_function().graph
    return {op.type for op in graph.get_operations()}


def test_frozen_prefix_is_not_differentiated():
    model = tiny()
    stepper = model.backend.stepper(model, UpdateSpec(OptimizerSpec("sgd"), LossSpec()))
    found = []
    for freeze in (False, True):
        if freeze:
            model.freeze()
        stepper.step(IMAGES, LABELS, block_rates(1e-2, model.blocks))
        found.append("Conv2DBackpropFilter" in operations(stepper))
    assert found == [True, False]


def test_dropout_in_the_network_follows_the_seed_of_the_step():
    model = tiny(head=Head((64,), dropout=0.5))
    stepper = model.backend.stepper(model, UpdateSpec(OptimizerSpec("sgd", momentum=0.0), LossSpec()))
    rates, start = block_rates(1e-30, model.blocks), model.weights()
    losses = []
    for seed in (1, 1, 2**32 - 1):
        model.set_weights(start)
        losses.append(float(stepper.step(IMAGES, LABELS, rates, seed=seed)))
    assert losses[0] == losses[1] != losses[2]


def test_errors_are_one_line_with_a_way_out():
    with pytest.raises(DeviceError, match=r"device 'gpu:3' is not here: available are .*cpu"):
        tiny(device="gpu:3")
    with pytest.raises(UsageError, match=r"images are float64 \(1, 32, 32, 3\): expected uint8"):
        tiny().logits(np.zeros((1, 32, 32, 3)))


def test_processes_are_joined_before_the_first_tensor(monkeypatch):
    """Started as one of several, a process must not train alone in silence."""
    model = tiny()
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}')
    with pytest.raises(BackendError, match=r"begun to compute before the processes .* were joined: call .* first$"):
        Trainer(model)
    with pytest.raises(BackendError, match="begun to compute"):
        model.evaluate(Split(IMAGES, LABELS, [str(i) for i in range(6)]))
    monkeypatch.delenv("TF_CONFIG")
    Trainer(model)


@pytest.mark.parametrize("rate", [1e-3, 1e200])
def test_a_gan_makes_numbers_or_says_that_it_cannot(rate):
    features, labels = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 2
    spec = GanSpec(noise=2, hidden=4, updates=5, precision="fp64", rate=rate)
    if rate < 1:
        assert np.isfinite(generated(features, labels, np.ones(6, np.int64), spec, 0, "tensorflow")).all()
    else:
        with pytest.raises(NumbersError, match="not finite in update"):
            generated(features, labels, np.ones(6, np.int64), spec, 0, "tensorflow")
