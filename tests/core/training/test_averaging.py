"""Weight averages against means taken by hand; the greedy soup against all subsets in its order."""

import numpy as np
import pytest

import xfer
from xfer.errors import UsageError
from xfer.testing import NumpyBackend
from xfer.training.callback import Callback


class Snapshots(Callback):
    def __init__(self):
        self.taken = []

    def on_epoch_end(self, trainer, row):
        self.taken.append(trainer.model.weights())


def test_swa_is_the_mean_of_the_last_epochs(model, data):
    model.freeze("stem")
    snapshots = Snapshots()
    xfer.Trainer(model, lr=0.05, swa=3, progress=False, callbacks=[snapshots]).fit(data, 5)
    found = model.weights()
    for name, array in found.items():
        mean = np.mean([taken[name].astype(np.float64) for taken in snapshots.taken[2:]], axis=0)
        np.testing.assert_array_equal(array, mean.astype(np.float32), err_msg=name)
    assert any((found[name] != snapshots.taken[-1][name]).any() for name in found)


def test_swa_of_no_epochs_is_refused(model):
    with pytest.raises(UsageError, match="swa=0: give at least 1"):
        xfer.Trainer(model, swa=0)


def tuned(data, seeds, rate=0.05):
    models = []
    for seed in seeds:
        model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=list("abc"), image_size=16)
        xfer.Trainer(model, lr=rate, seed=seed, progress=False, batch_size=8, restore_best=False).fit(data, 1)
        models.append(model)
    return models


def test_a_soup_is_greedy_and_no_worse_than_its_best(data):
    models = tuned(data, range(4))
    weights = [model.weights() for model in models]
    scores = [model.evaluate(data).metrics["loss"] for model in models]
    made, chosen = xfer.soup(models, data, metric_name="loss")
    order = sorted(range(4), key=lambda i: scores[i])
    kept, best = [order[0]], scores[order[0]]
    probe = tuned(data, [9])[0]
    for i in order[1:]:
        mean = {n: np.mean([weights[k][n].astype(np.float64) for k in [*kept, i]], axis=0) for n in weights[0]}
        probe.set_weights({n: a.astype(np.float32) for n, a in mean.items()})
        found = probe.evaluate(data).metrics["loss"]
        if found <= best:
            kept, best = [*kept, i], found
    assert chosen == kept
    assert made.evaluate(data).metrics["loss"] == pytest.approx(best, rel=1e-6)
    assert best <= min(scores)


def test_what_cannot_be_averaged(data):
    one = tuned(data, [0])[0]
    other = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16)
    with pytest.raises(UsageError, match="cannot be averaged"):
        xfer.soup([one, other], data)
    with pytest.raises(UsageError, match="has no models"):
        xfer.soup([], data)
