"""What a recorder of Keras refuses, in one line, and that it leaves the model as it was."""

import keras
import numpy as np
import pytest

import xfer
from xfer.errors import UsageError
from xfer.traces.trace import open_trace
from xfer_keras_nets.layers import BatchNorm

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


def test_a_network_of_several_inputs(tmp_path):
    images = [keras.Input((3,)), keras.Input((3,))]
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.Concatenate()(images)))
    with pytest.raises(UsageError, match="has 2 inputs: record a network that takes images alone"):
        xfer.record(model, out=tmp_path)


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


def test_a_model_that_is_compiled_anew_is_recorded_as_it_is_now(tmp_path):
    """Another loss, and a layer that is trained no more."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="first"), keras.layers.Dense(2)])
    losses = []
    seen = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: losses.append(logs["loss"]))
    with xfer.record(model, out=tmp_path / "trace", steps=2):
        for reduction in ("sum_over_batch_size", "sum"):
            model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction))
            model.fit(X, Y, verbose=0, callbacks=[seen])
            model.get_layer("first").trainable = False
    first, second = open_trace(tmp_path / "trace").steps
    assert [first.notes.loss, second.notes.loss] == pytest.approx(losses, rel=1e-6)
    assert losses[1] > 3 * losses[0]
    trained = [any(key.startswith("gradient/") and "first" in key for key in each.names) for each in (first, second)]
    assert trained == [True, False]


@pytest.mark.parametrize("form", ["tuple", "dictionary", "weighted"])
def test_batches_of_any_form(tmp_path, form):
    image = keras.Input((3,), name="image")
    model = keras.Model({"image": image} if form == "dictionary" else image, keras.layers.Dense(2)(image))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = {"image": X} if form == "dictionary" else X
    with xfer.record(model, out=tmp_path / "trace", steps=2):
        model.fit(x, Y, sample_weight=np.ones(4) if form == "weighted" else None, batch_size=3, verbose=0)
    assert [each.notes.loss is not None for each in open_trace(tmp_path / "trace").steps] == [True, True]


class Doubled(keras.layers.BatchNormalization):
    """A layer with a variance of its own."""

    def _moments(self, inputs, mask):
        mean, variance = super()._moments(inputs, mask)
        return mean, 2 * variance


@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.parametrize("kind", [keras.layers.BatchNormalization, Doubled, BatchNorm])
def test_the_batch_has_its_mean_and_biased_variance_whatever_a_layer_makes_of_them(tmp_path, kind, run_eagerly):
    norm = BatchNorm(0.1, 1e-5) if kind is BatchNorm else kind()
    model = keras.Sequential([keras.Input((3,)), norm, keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=run_eagerly)
    images = np.random.default_rng(0).normal(100, 1, (9, 3)).astype("float32")
    with xfer.record(model, out=tmp_path / "trace", steps=2):
        model.fit(images, np.zeros(9), batch_size=5, shuffle=False, verbose=0)
    for step, batch in zip(open_trace(tmp_path / "trace").steps, (images[:5], images[5:]), strict=True):
        batch = batch.astype("float64")
        assert step.get(f"batch_mean/{norm.name}") == pytest.approx(batch.mean(0), rel=1e-6)
        assert step.get(f"batch_variance/{norm.name}") == pytest.approx(batch.var(0), rel=1e-4)
        assert step.get(f"batch_count/{norm.name}") == len(batch)
    assert "_moments" not in vars(norm)


def test_a_frozen_layer_has_no_statistics_of_the_batch(tmp_path):
    norm = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((3,)), norm, keras.layers.Dense(2)])
    norm.trainable = False
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with xfer.record(model, out=tmp_path / "trace", steps=1):
        model.fit(X, Y, verbose=0)
    assert open_trace(tmp_path / "trace").steps[0].get(f"batch_mean/{norm.name}") is None


def test_a_layer_that_is_computed_again_for_its_gradient_is_recorded_once(tmp_path):
    with keras.RematScope("full"):
        hidden = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((3,)), hidden, keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, run_eagerly=True)  # Keras has it in no other way on TensorFlow
    with xfer.record(model, out=tmp_path / "trace", steps=1):
        model.fit(X, Y, verbose=0)
    trace = open_trace(tmp_path / "trace")
    assert [layer.name for layer in trace.notes.layers] == [layer.name for layer in model.layers]
    assert trace.steps[0].get(f"gradient/{hidden.gamma.path}") is not None
