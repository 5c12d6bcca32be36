"""What the user has set in Keras and TensorFlow neither changes a run, nor is changed by it."""

import os
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import xfer

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
DATA = xfer.data.arrays(IMAGES, np.arange(8) % 2, IMAGES, np.arange(8) % 2, classes=["a", "b"])


def trained():
    options = {"weights": None, "classes": ["a", "b"], "image_size": 16, "precision": "fp32"}
    model = xfer.load("tiny", backend="tensorflow", device="cpu", **options)
    xfer.Trainer(model, lr=0.05, batch_size=4, progress=False, cache=False).fit(DATA, 2)
    return model.weights() | {"probabilities": model.predict_proba(list(IMAGES))}


@pytest.mark.parametrize(
    ("get", "put", "value", "exact"),
    [
        (keras.config.image_data_format, keras.config.set_image_data_format, "channels_first", True),
        (lambda: keras.config.dtype_policy().name, keras.config.set_dtype_policy, "mixed_float16", True),
        (keras.config.floatx, keras.config.set_floatx, "float64", True),
        (tf.config.functions_run_eagerly, tf.config.run_functions_eagerly, True, False),
    ],
)
def test_settings(get, put, value, exact):
    expected, before = trained(), get()
    put(value)
    try:
        found = trained()
        assert get() == value
    finally:
        put(before)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0 if exact else 1e-4, atol=0 if exact else 1e-5)


def test_another_backend_of_keras():
    source = "import xfer; xfer.load('tiny', backend='tensorflow', weights=None, classes=2)"
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": "jax"}
    )
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .endswith("Keras runs on 'jax': start a process with KERAS_BACKEND=tensorflow for backend 'tensorflow'")
    )


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_off_on_a_gpu_and_then_as_the_user_had_it(allowed):
    """Here without a GPU: the context of all passes."""
    config = tf.config.experimental
    model = xfer.load("tiny", backend="tensorflow", weights=None, classes=["a", "b"], image_size=16, device="cpu")
    before = config.tensor_float_32_execution_enabled()
    try:
        config.enable_tensor_float_32_execution(allowed)
        with model.backend.deterministically(replace(model.spec, device="cuda:0")):
            assert not config.tensor_float_32_execution_enabled()
        with model.backend.deterministically(model.spec):
            assert config.tensor_float_32_execution_enabled() == allowed
    finally:
        config.enable_tensor_float_32_execution(before)
