"""What the user has set in JAX and Keras neither changes a run, nor is changed by it."""

import jax
import keras
import numpy as np
import pytest

import xfer

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
DATA = xfer.data.arrays(IMAGES, np.arange(8) % 2, IMAGES, np.arange(8) % 2, classes=["a", "b"])
MODES = {
    "jax_enable_x64": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_default_matmul_precision": "bfloat16",
    "jax_debug_nans": True,
    "jax_disable_jit": True,
    "jax_transfer_guard": "disallow",
}


def trained():
    options = {"weights": None, "classes": ["a", "b"], "image_size": 16, "precision": "fp32"}
    model = xfer.load("tiny", backend="jax", device="cpu", **options)
    xfer.Trainer(model, lr=0.05, batch_size=4, progress=False, cache=False).fit(DATA, 2)
    return model.weights() | {"probabilities": model.predict_proba(list(IMAGES))}


def same(found, expected):
    return all(np.array_equal(found[name], array) for name, array in expected.items())


@pytest.mark.long
def test_all_modes_of_jax_at_once():
    expected, before = trained(), {name: getattr(jax.config, name) for name in MODES}
    try:
        for name, value in MODES.items():
            jax.config.update(name, value)
        found = trained()
        assert {name: getattr(jax.config, name) for name in MODES} == MODES
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    assert same(found, expected)


@pytest.mark.long
@pytest.mark.parametrize(
    ("get", "put", "value"),
    [
        (keras.config.image_data_format, keras.config.set_image_data_format, "channels_first"),
        (lambda: keras.config.dtype_policy().name, keras.config.set_dtype_policy, "mixed_float16"),
        (keras.config.floatx, keras.config.set_floatx, "float64"),
    ],
)
def test_settings_of_keras(get, put, value):
    expected, before = trained(), get()
    put(value)
    try:
        found = trained()
        assert get() == value
    finally:
        put(before)
    assert same(found, expected)
