"""What is JAX's own: shapes that are compiled, buffers that are given away, engines of Keras."""

import os
import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.suites import tiny_timm
from xfer import Head, LossSpec, OptimizerSpec, load
from xfer.errors import BackendError, DeviceError, NumbersError
from xfer.features.gan import GanSpec, generated
from xfer.models.backend import get_backend
from xfer.models.spec import ModelSpec
from xfer.specs.rates import block_rates
from xfer.specs.update import UpdateSpec
from xfer.zoo import imagenet_classes
from xfer_jax.model import padded_size

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def tiny(**options):
    return load("tiny", backend="jax", weights=None, classes=3, image_size=16, **options)


def stepper_of(model, rule="adamw"):
    return model.backend.stepper(model, UpdateSpec(OptimizerSpec(rule), LossSpec()))


def test_a_pass_is_compiled_for_few_numbers_of_images():
    """What a number becomes depends on it alone; blank images beside it do not change the others."""
    assert [padded_size(n) for n in (1, 2, 3, 17, 32, 33, 48, 153)] == [1, 2, 4, 32, 32, 48, 48, 160]
    assert all(padded_size(n) >= n and padded_size(padded_size(n)) == padded_size(n) for n in range(1, 300))
    model = tiny()
    images = np.concatenate([IMAGES, IMAGES])[:8]
    whole = model.logits(images)  # some processors round by the place in a batch
    for number in (6, 5, 6, 7, 8):
        np.testing.assert_array_equal(model.logits(images[:number]), whole[:number])
    assert len(model._compiled) == 1
    assert model.logits(IMAGES[:0]).shape == (0, 3)


def test_a_step_is_compiled_for_few_numbers_of_images_and_for_another_plan():
    model = tiny()
    stepper = stepper_of(model)
    rates = block_rates(1e-2, model.blocks)
    for number in (6, 4, 6, 4):
        stepper.step(IMAGES[:number], LABELS[:number], rates)
    assert [function._cache_size() for function in stepper._compiled.values()] == [1, 1]
    model.freezer.freeze_norm()
    for number in (6, 5, 6):  # without batch statistics, samples without a label fill a batch
        stepper.step(IMAGES[:number], LABELS[:number], rates)
    assert [function._cache_size() for function in stepper._compiled.values()] == [1]


def test_a_step_gives_its_buffers_away_but_no_array_of_the_user():
    model = tiny()
    given = model.weights()
    kept = {name: array.copy() for name, array in given.items()}
    model.set_weights(given)
    stepper = stepper_of(model)
    read = model.weights()
    stepper.step(IMAGES, LABELS, block_rates(0.1, model.blocks))  # before it, the host has a view of all buffers
    before = [tensor.variable.value for tensor in model.tensors().values()]
    stepper.step(IMAGES, LABELS, block_rates(0.1, model.blocks))
    assert all(value.is_deleted() for value in before)
    for name, array in kept.items():
        assert given[name].tobytes() == read[name].tobytes() == array.tobytes(), name
        assert model.weights()[name].tobytes() != array.tobytes(), name


def test_a_step_that_fails_after_its_buffers_were_given_away_changes_nothing():
    model = tiny()
    stepper = stepper_of(model)
    rates = block_rates(0.1, model.blocks)
    stepper.step(IMAGES, LABELS, rates)
    before = model.weights() | stepper.state()
    real, room = stepper._jit, 3

    def limited(key, function, donated=()):
        def compiled(state, *more):
            if key[0] == "update" and key[2] > room:
                jax.tree.map(lambda array: array.delete(), state)
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte.")
            return real(key, function, donated)(state, *more)

        return compiled

    stepper._jit = limited
    stepper._compiled.clear()
    stepper._fitted.clear()
    rates = dict.fromkeys(rates, 0.0)
    model.freezer.freeze_norm()
    assert np.isfinite(stepper.step(IMAGES, LABELS, rates))
    assert stepper.micro_batch_size == 3
    after = model.weights()
    assert all(after[name].tobytes() == before[name].tobytes() for name in after)
    room = 0
    with pytest.raises(DeviceError, match="no memory for a training step of one image"):
        stepper.step(IMAGES[:1], LABELS[:1], rates)
    after = model.weights()
    assert all(after[name].tobytes() == before[name].tobytes() for name in after)


def test_processes_are_joined_before_jax_computes(monkeypatch):
    tiny()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(BackendError, match=r"JAX has begun to compute before .*distributed_context\('cpu'\) first"):
        tiny()


@pytest.mark.long
@pytest.mark.parametrize("rate", [1e-3, 1e200])
def test_a_gan_makes_numbers_or_says_that_it_cannot(rate):
    features, labels = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 2
    spec = GanSpec(noise=2, hidden=4, updates=5, precision="fp64", rate=rate)
    if rate < 1:
        assert np.isfinite(generated(features, labels, np.ones(6, np.int64), spec, 0, "jax")).all()
    else:
        with pytest.raises(NumbersError, match="not finite in update"):
            generated(features, labels, np.ones(6, np.int64), spec, 0, "jax")


@pytest.mark.long
def test_a_pickled_model_is_loaded_in_another_process(tmp_path):
    """Which imports Keras on JAX, although nothing has said so before."""
    model = tiny()
    (tmp_path / "model").write_bytes(pickle.dumps((model, IMAGES)))
    source = "import pickle, sys; model, x = pickle.load(sys.stdin.buffer); print(model.logits(x).tobytes().hex())"
    with (tmp_path / "model").open("rb") as given:
        done = subprocess.run([sys.executable, "-c", source], stdin=given, capture_output=True, text=True)
    assert done.stdout.strip() == model.logits(IMAGES).tobytes().hex(), done.stderr


def test_tensorflow_is_not_loaded():
    assert not [name for name in sys.modules if name.split(".")[0] == "tensorflow"]
    assert "KERAS_BACKEND" not in os.environ, "a process that this one starts would have Keras on JAX, too"


@pytest.mark.long
def test_another_engine_of_keras():
    source = "import xfer; xfer.load('tiny', backend='jax', weights=None, classes=2)"
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, env=environment)
    expected = "Keras runs on 'torch': start a process with KERAS_BACKEND=jax for backend 'jax'"
    assert done.stderr.strip().splitlines()[-1].endswith(expected)


@pytest.mark.parametrize(
    "name", [name if name == "tiny_eva02" else pytest.param(name, marks=pytest.mark.long) for name in tiny_timm.CARDS]
)
def test_tiny_networks_of_timm_have_an_output_for_each_image(name):
    """Their layers take variables in ways of their own."""
    found = tiny_timm.CARDS[name]
    model = get_backend("jax").build(ModelSpec(found, Head(), imagenet_classes(), found.preprocessing))
    size = found.preprocessing.size
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    logits = model.logits(images)
    assert logits.shape == (2, 1000)
    assert np.isfinite(logits).all()
