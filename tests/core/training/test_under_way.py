"""What changes while a fit is under way: the freeze plan, the head, who saves, who resumes."""

from dataclasses import replace

import numpy as np
import pytest

import xfer
from xfer.errors import UsageError
from xfer.training.callbacks import BestWeights, Callback, WeightAverage


def noisy(data):
    """Half of the validation labels are wrong, so that the loss rises as the model grows sure."""
    labels = np.where(np.arange(len(data.val)) % 2, data.val.labels, (data.val.labels + 1) % 3)
    return xfer.data.Data(data.train, replace(data.val, labels=labels), None, data.classes, "noisy")


def trainer(model, **options):
    return xfer.Trainer(model, **({"lr": 1e-2, "progress": False, "batch_size": 16, "cache": False} | options))


class Unfreezing(Callback):
    """One block more after each epoch, or in the middle of it; records the weights after each epoch."""

    def __init__(self, at_step=None):
        self.at_step, self.weights, self.values = at_step, [], []

    def unfreeze(self, trainer):
        if trainer.epoch < 3:
            trainer.model.unfreeze(last=min(trainer.epoch, 2))

    def on_step_end(self, trainer, step, loss):
        if step == self.at_step:
            self.unfreeze(trainer)

    def on_epoch_end(self, trainer, row):
        self.weights.append(trainer.model.weights())
        self.values.append(row["val_loss"])
        if self.at_step is None:
            self.unfreeze(trainer)


@pytest.mark.parametrize("at_step", [None, 1])
def test_the_mean_of_a_plan_that_changes(model, data, at_step):
    """The mean of the whole network after each of the last epochs."""
    seen = Unfreezing(at_step)
    model.freeze()
    trainer(model, swa=3, callbacks=[seen]).fit(data, 4)
    for name, array in model.weights().items():
        mean = np.mean([weights[name].astype(np.float64) for weights in seen.weights[1:]], axis=0)
        np.testing.assert_allclose(array, mean, rtol=1e-6, err_msg=name)
    model.freezer.verify()


@pytest.mark.parametrize("at_step", [None, 1])
@pytest.mark.parametrize("wrong", [False, True])  # the best epoch is the last, or an early one
def test_the_best_weights_of_a_plan_that_changes(model, data, at_step, wrong):
    seen = Unfreezing(at_step)
    model.freeze()
    trainer(model, lr=0.1, callbacks=[seen]).fit(noisy(data) if wrong else data, 4)
    assert np.argmin(seen.values) < 3 or not wrong
    best = seen.weights[int(np.argmin(seen.values))]
    for name, array in model.weights().items():
        np.testing.assert_array_equal(array, best[name], err_msg=name)
    model.freezer.verify()


@pytest.mark.parametrize("options", [{}, {"swa": 2}, {"early_stopping": 5}])
def test_a_head_that_is_replaced_in_mid_fit(model, data, options):
    """What was kept of the old head does not come back, and the new one is trained."""

    class Replacing(Callback):
        def on_epoch_end(self, trainer, row):
            if trainer.epoch == 2:
                trainer.model.replace_head(["a", "b", "c"], seed=9)
                self.fresh = trainer.model.weights()["fc.weight"]
            self.last = trainer.model.weights()["fc.weight"]

    replacing = Replacing()
    trainer(model, callbacks=[replacing], **options).fit(data, 3)
    found = model.weights()["fc.weight"]
    assert np.abs(found - replacing.last).max() < np.abs(found - replacing.fresh).max()
    np.testing.assert_array_equal(found, replacing.last)  # one epoch of the new head: it is the best, and the mean


def test_a_head_with_other_classes(model, data):
    """Numbers by class belong to one head; what is counted on the data is counted anew."""
    fixed = trainer(model, loss=xfer.LossSpec(class_weights=(1.0, 2.0, 3.0)))
    balanced = trainer(model, class_weights="balanced")
    balanced.fit(data, 1)
    two = data.train.subset(np.flatnonzero(data.train.labels != 1)[:30])
    labels = np.where(two.labels == 2, 1, 0)
    smaller = xfer.data.arrays(np.stack([two.images[i] for i in range(30)]), labels, classes=["a", "c"], val=0)
    model.replace_head(["a", "c"])
    with pytest.raises(UsageError, match="class_weights has 3 numbers: expected one for each of 2 classes"):
        fixed.fit(smaller, 1)
    balanced.fit(smaller, 1)
    assert len(balanced.stepper.update.loss.class_weights) == 2
    model.replace_head(["a", "b", "c"])
    with pytest.raises(UsageError, match="class_weights has 2 numbers"):
        trainer(model, loss=xfer.LossSpec(class_weights=(1.0, 2.0)))
    model.replace_head([xfer.Task("kind", "single-label", ("a", "b"))])
    with pytest.raises(UsageError, match="other tasks"):
        balanced.stepper.step(np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 1)), balanced.rates)


@pytest.mark.parametrize(("patience", "ends"), [(1, "best"), (9, "mean")])
def test_averaging_and_early_stopping(model, data, patience, ends):
    """The mean where there is one, the best weights where the fit ended before."""
    seen = Unfreezing()
    seen.unfreeze = lambda trainer: None
    trainer(model, lr=0.1, swa=2, early_stopping=patience, callbacks=[seen]).fit(noisy(data), 6)
    assert (len(seen.weights) < 5) == (ends == "best")
    expected = {
        "best": lambda name: seen.weights[int(np.argmin(seen.values))][name],
        "mean": lambda name: np.mean([weights[name].astype(np.float64) for weights in seen.weights[-2:]], axis=0),
    }[ends]
    for name, array in model.weights().items():
        np.testing.assert_allclose(array, expected(name), rtol=1e-6, err_msg=name)


def test_what_a_callback_saves_has_the_epochs_best(model, data, tmp_path):
    """The first epoch is the best; resumed from the save in its callback, the fit ends with it."""

    class Saving(Callback):
        def on_epoch_end(self, trainer, row):
            if trainer.epoch == 1:
                trainer.save(tmp_path / "saved")
                self.best = trainer.model.weights()

    saving = Saving()
    data = noisy(data)
    values = trainer(model, lr=0.1, callbacks=[saving]).fit(data, 3).column("val_loss")
    assert min(values) == values[0]
    from xfer.testing import NumpyBackend

    resumed = xfer.Trainer.resume(tmp_path / "saved", backend=NumpyBackend(), progress=False, cache=False)
    resumed.fit(data)
    for name, array in saving.best.items():
        np.testing.assert_array_equal(resumed.model.weights()[name], array)


def test_callbacks_that_a_run_needs(model, data, tmp_path):
    from xfer.testing import NumpyBackend

    class Stopped(Callback):
        def on_step_end(self, trainer, step, loss):
            if trainer.epoch == 1:
                raise RuntimeError

    where = xfer.Checkpoints(tmp_path / "run", steps=1)
    with pytest.raises(RuntimeError):
        trainer(model, checkpoints=where, callbacks=[WeightAverage(2), BestWeights("loss"), Stopped()]).fit(data, 3)
    resumed = xfer.Trainer.resume(tmp_path / "run", backend=NumpyBackend(), progress=False, cache=False)
    with pytest.raises(UsageError, match=r"with the callbacks .*WeightAverage: give them to Trainer.resume"):
        resumed.fit(data)
    again = [WeightAverage(2), BestWeights("loss")]
    resumed = xfer.Trainer.resume(
        tmp_path / "run", backend=NumpyBackend(), progress=False, cache=False, callbacks=again
    )
    assert len(resumed.fit(data)) == 3


def test_fine_tuning_twice_has_the_same_rates(model, data, tmp_path):
    first = trainer(model)
    expected = first.lower_rates()
    for _ in range(2):
        first.fine_tune(data, head_epochs=1, epochs=1)
        assert first.rates == expected
        assert [row["lr"] for row in first.history[-2:]] == [1e-2, pytest.approx(1e-3)]
    from xfer.testing import NumpyBackend

    first.save(tmp_path / "run")
    resumed = xfer.Trainer.resume(tmp_path / "run", backend=NumpyBackend(), progress=False, cache=False)
    assert (resumed.rates, resumed.lower_rates()) == (expected, expected)
    first.fit(data, 1, lr=1e-3)
    assert first.lower_rates()["head"] == pytest.approx(1e-4)


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"head_epochs": -1}])
def test_fine_tuning_for_no_epochs_is_refused_before_the_head_is_trained(model, data, bad):
    before = model.weights()
    with pytest.raises(UsageError, match="epochs="):
        trainer(model).fine_tune(data, **bad)
    assert all((model.weights()[name] == array).all() for name, array in before.items())
