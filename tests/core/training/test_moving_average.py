"""The moving average of the weights against one by hand, in float64."""

from dataclasses import replace

import numpy as np
import pytest

import xfer
from xfer.errors import UsageError
from xfer.testing import NumpyBackend
from xfer.training.callbacks import Callback, ExponentialMovingAverage

DECAY = 0.8


def network():
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=list("abc"), image_size=16, precision="fp64")


def trainer(model, **options):
    return xfer.Trainer(model, **({"lr": 3e-2, "progress": False, "batch_size": 16, "cache": False} | options))


class ByHand(Callback):
    """The average of all tensors of the network, frozen or not, after each update, and at the end of each epoch."""

    def __init__(self, act=None):
        self.act, self.average, self.epochs, self.rows = act, None, [], []

    def on_step_end(self, trainer, step, loss):
        now = trainer.model.weights()
        if self.average is None:
            self.average = now
        else:
            self.average = {n: DECAY * a + (1 - DECAY) * now[n] for n, a in self.average.items()}
        if self.act is not None:
            self.act(trainer, step)

    def on_epoch_end(self, trainer, row):
        self.epochs.append(self.average)
        self.rows.append(row)


def assert_same(found, expected):
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-12, atol=1e-15, err_msg=name)


def unfreeze_then_freeze(trainer, step):
    if (trainer.epoch, step) == (0, 1):
        trainer.model.unfreeze("layer1")
    if (trainer.epoch, step) == (2, 0):
        trainer.model.freeze("layer1")


@pytest.mark.parametrize("act", [None, unfreeze_then_freeze])
def test_a_fit_validates_the_average_and_ends_with_it(data, act):
    model = network()
    model.freeze(*(["layer1"] if act else []))
    seen = ByHand(act)
    trainer(model, ema=DECAY, restore_best=False, callbacks=[seen]).fit(data, 4)
    assert_same(model.weights(), seen.average)
    other = network()
    for average, row in zip(seen.epochs, seen.rows, strict=True):
        other.set_weights(average)
        assert row["val_loss"] == pytest.approx(other.evaluate(data).metrics["loss"], rel=1e-9)
    model.freezer.verify()


def test_training_goes_on_with_the_weights_as_they_are(data):
    """All losses of training are those of a fit without an average."""
    rows = [trainer(network(), restore_best=False, ema=ema).fit(data, 3) for ema in (None, DECAY)]
    assert rows[0].column("loss") == rows[1].column("loss")
    assert rows[0].column("val_loss") != rows[1].column("val_loss")


def test_the_best_average_is_restored(data):
    wrong = replace(data.val, labels=(data.val.labels + 1) % 3)  # the loss rises as the network learns
    model, seen = network(), ByHand()
    rows = trainer(model, ema=DECAY, callbacks=[seen]).fit(replace(data, val=wrong), 4)
    best = int(np.argmin(rows.column("val_loss")))
    assert best < 3
    assert_same(model.weights(), seen.epochs[best])


def test_a_new_head_begins_anew(data):
    def act(trainer, step):
        if (trainer.epoch, step) == (1, 1):
            trainer.model.replace_head(list("abc"), seed=3)
            seen.average = None

    model, seen = network(), ByHand()
    seen.act = act
    trainer(model, ema=DECAY, restore_best=False, callbacks=[seen]).fit(data, 2)
    assert_same(model.weights(), seen.average)


class StopAt(Callback):
    def __init__(self, at):
        self.at = at

    def on_step_end(self, trainer, step, loss):
        if (trainer.epoch, step) == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("restore_best", [False, True])
@pytest.mark.parametrize("at", [(1, 0), (2, 0), (3, 2)])  # of fine-tuning
def test_a_resumed_fit_is_bitwise_the_same(data, tmp_path, at, restore_best):
    """With what L2-SP decays towards, which is in no other place once training has begun."""
    options = {"ema": DECAY, "l2_sp": 0.5, "layer_decay": 0.7, "restore_best": restore_best, "optimizer": "sgd"}
    expected = network()
    trainer(expected, **options).fine_tune(data, head_epochs=1, epochs=3, unfreeze=2, train_norm=True)
    model = network()
    first = trainer(model, callbacks=[StopAt(at)], **options)
    with pytest.raises(KeyboardInterrupt):
        first.fine_tune(data, head_epochs=1, epochs=3, unfreeze=2, train_norm=True)
    first.save(tmp_path)
    second = xfer.Trainer.resume(tmp_path, backend=NumpyBackend(), progress=False)
    second.fit(data)
    for name, array in second.model.weights().items():
        assert array.tobytes() == expected.weights()[name].tobytes(), name


def test_a_checkpoint_has_the_weights_that_training_goes_on_with(data, tmp_path):
    model, kept = network(), []

    class Saving(Callback):
        def on_epoch_end(self, trainer, row):
            trainer.save(tmp_path)
            kept.append(trainer.model.weights())

    trainer(model, ema=DECAY, restore_best=False, callbacks=[Saving()]).fit(data, 1)
    stored = xfer.load(tmp_path, backend=NumpyBackend()).weights()
    assert all(array.tobytes() == stored[name].tobytes() for name, array in kept[0].items())
    assert any(array.tobytes() != model.weights()[name].tobytes() for name, array in kept[0].items())


def test_decays_that_cannot_be():
    with pytest.raises(UsageError, match="ema=1: give a decay between 0 and 1"):
        ExponentialMovingAverage(1)
    with pytest.raises(UsageError, match="leave one out"):
        xfer.Trainer(network(), ema=0.9, swa=2)
