"""MetricMonitor a metric: any of them, in the right direction, and no other computed for it."""

import numpy as np
import pytest

import xfer
import xfer.training.callbacks
from xfer.errors import UsageError
from xfer.evaluation.metrics import EPOCH_METRICS, METRICS, Metric
from xfer.training.monitor import BestWeights, EarlyStopping, lower_is_better

RATES = (1e-2, 3.0, 1e-2, 1.0)  # good and bad epochs in turn


def trainer(model, **options):
    return xfer.Trainer(model, **({"lr": 1e-2, "progress": False, "batch_size": 16} | options))


def noisy(data):
    """The data with a quarter of the validation labels wrong, so that no metric is at its end."""
    labels = np.array(data.val.labels)
    labels[::4] = (labels[::4] + 1) % 3
    val = xfer.data.Split(data.val.images, labels, data.val.names, data.classes)
    return xfer.data.Data(data.train, val, None, data.classes, "noisy")


def improvements(values, watcher):
    """Whether each of the values is an improvement."""
    watcher.on_fit_begin(None, len(values))
    return [watcher.improved({watcher.monitor: value}) for value in values]


@pytest.mark.parametrize("name", [*(name for name in METRICS if name != "top5_accuracy"), "top2_accuracy"])
def test_any_metric_can_be_watched(model, data, name):
    """The weights of the epoch with the best value are put back."""
    data = noisy(data)
    run = trainer(model, monitor=f"val_{name}")

    class Rates(xfer.training.callback.Callback):
        def on_epoch_begin(self, trainer, epoch, steps):
            trainer.rates = dict.fromkeys(trainer.rates, RATES[epoch])

    run.callbacks.append(Rates())
    rows = run.fit(data, len(RATES))
    values = rows.column(f"val_{name}")
    assert len(values) == len(RATES)
    best = min(values) if name in ("loss", "ece") else max(values)
    assert model.evaluate(data).metric(name) == pytest.approx(best, rel=1e-6)
    assert len(set(values)) > 1 or name == "top2_accuracy"


def test_directions():
    lower = ["loss", *(f"val_{name}" for name in METRICS if lower_is_better(f"val_{name}"))]
    assert lower == ["loss", "val_loss", "val_ece"]
    of_tasks = ["val_age_mae", "val_age_rmse", "val_age_r2", "val_kind_mcc", "val_kind_loss", "val_tags_micro_f1"]
    assert [lower_is_better(name) for name in of_tasks] == [True, True, False, False, True, False]
    assert improvements([0.5, 0.4, 0.6, 0.4], BestWeights("val_ece")) == [True, True, False, False]
    assert improvements([0.5, 0.4, 0.6, 0.6], BestWeights("val_mcc")) == [True, False, True, False]
    assert improvements([-0.5, -0.4, -0.6], BestWeights("val_cohen_kappa")) == [True, True, False]


def test_what_is_not_a_number_is_no_improvement():
    assert improvements([np.nan, 2.0, np.nan, 3.0, 1.0], BestWeights("val_loss")) == [False, True, False, False, True]


def test_only_what_is_watched_is_computed(model, data, monkeypatch):
    computed = []
    for name, metric in METRICS.items():
        spy = Metric(lambda answers, name=name, metric=metric: computed.append(name) or metric.compute(answers))
        monkeypatch.setitem(METRICS, name, spy)
    trainer(model).fit(data, 1)
    assert computed == list(EPOCH_METRICS)
    computed.clear()
    row = trainer(model, callbacks=[EarlyStopping(1, "val_mcc")], monitor="val_roc_auc").fit(data, 1)[0]
    assert computed == [*EPOCH_METRICS, "roc_auc", "mcc"]
    assert {"val_mcc", "val_roc_auc"} < set(row)


def test_early_stopping_by_a_metric_that_cannot_improve(model, data):
    """All is right after an epoch."""
    trainer(model, lr=0.05).fit(data, 3)
    assert len(trainer(model, early_stopping=2, monitor="val_accuracy").fit(data, 9)) == 3


def test_the_watched_metric_is_shown(model, data, capsys):
    xfer.Trainer(model, batch_size=16, monitor="val_mcc").fit(data, 1)
    assert "val_mcc " in capsys.readouterr().err


def test_a_metric_that_is_undefined_cannot_be_watched(model, data):
    keep = np.flatnonzero(data.val.labels != 2)
    short = xfer.data.Data(data.train, data.val.subset(keep), None, data.classes, "short")
    with pytest.raises(UsageError, match="cannot watch 'val_roc_auc': the validation images leave it undefined"):
        trainer(model, monitor="val_roc_auc").fit(short, 1)


def test_watching_without_validation(model, data):
    """The trainer's own watchers turn to the training loss; one of the user's says what is missing."""
    alone = xfer.data.Data(data.train, None, None, data.classes, "alone")
    assert "val_mcc" not in trainer(model, monitor="val_mcc").fit(alone, 1)[0]
    with pytest.raises(UsageError, match="cannot watch 'val_mcc': there are no images to validate on"):
        trainer(model, callbacks=[EarlyStopping(1, "val_mcc")]).fit(alone, 1)
