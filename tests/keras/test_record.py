"""What a recorder of Keras refuses, in one line, and that it leaves the model as it was."""

import keras
import numpy as np
import pytest

import xfer
from xfer.errors import UsageError

X, Y = np.ones((4, 3), "float32"), np.zeros(4)


def compiled(**options):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), **options)
    return model


def test_a_model_that_is_not_built(tmp_path):
    with pytest.raises(UsageError, match=r"is not built: call model\.build"):
        xfer.record(keras.Sequential([keras.layers.Dense(2)]), out=tmp_path)


def test_an_optimizer_of_another_kind(tmp_path):
    with pytest.raises(UsageError, match=r"optimizer is a str: give the keras.optimizers.Optimizer of the loop"):
        xfer.record(compiled(), "sgd", tmp_path)


def test_several_steps_in_one_call(tmp_path):
    model = compiled(steps_per_execution=2)
    refused = pytest.raises(UsageError, match=r"record with compile\(..., steps_per_execution=1\)")
    with refused, xfer.record(model, out=tmp_path):
        model.fit(X, Y, verbose=0)
    model.fit(X, Y, verbose=0)


def test_a_step_without_images(tmp_path):
    with xfer.record(compiled(), out=tmp_path) as recorder, pytest.raises(UsageError, match="images are not given"):
        recorder.step(labels=Y)


def test_a_callback_in_the_fit_of_another_model(tmp_path):
    recorder = xfer.record(compiled(), out=tmp_path)
    with pytest.raises(UsageError, match="give it to the fit of the model that is recorded"):
        compiled().fit(X, Y, verbose=0, callbacks=[recorder.callback])


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_a_callback_ends_with_the_steps_or_with_fit(tmp_path, steps):
    model = compiled()
    recorder = xfer.record(model, out=tmp_path / "trace", steps=steps)
    model.fit(X, Y, batch_size=1, verbose=0, callbacks=[recorder.callback])
    assert len(list((tmp_path / "trace").glob("step-*"))) == min(steps, 4)
    assert "make_train_function" not in vars(model)
    assert "apply" not in vars(model.optimizer)


def test_a_callback_in_a_block_leaves_the_recording_to_it(tmp_path):
    model = compiled()
    with xfer.record(model, out=tmp_path / "trace") as recorder:
        for _ in range(2):
            model.fit(X, Y, verbose=0, callbacks=[recorder.callback])
    assert len(list((tmp_path / "trace").glob("step-*"))) == 2
