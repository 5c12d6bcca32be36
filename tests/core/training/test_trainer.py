"""The loop: what it records, when it stops, what it puts back, and where it can start."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, top_k_accuracy_score

import xfer
from xfer.errors import CheckpointError, DataError, TrainingError, UsageError
from xfer.evaluation.metrics import classification_metrics, confusion_matrix
from xfer.training.callback import Callback


def trainer(model, **options):
    return xfer.Trainer(model, **({"lr": 1e-2, "progress": False, "batch_size": 16} | options))


def test_it_learns_and_records(model, data, tmp_path):
    run = trainer(model, lr=3e-2)
    rows = run.fit(data, 8)
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    assert rows[-1]["val_accuracy"] == 1.0
    assert all(row["images"] == 60 for row in rows)
    run.save(tmp_path)
    assert json.loads((tmp_path / "history.json").read_text()) == list(rows)
    with (tmp_path / "history.csv").open() as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == rows.column("loss")


def test_loss_is_the_mean_over_images(model, data):
    """With a rate of almost zero, the recorded loss is that of the untrained model, batch of 12 included."""
    model.freeze()
    expected = classification_metrics(model.logits(np.stack(data.train.images)), data.train.labels)["loss"]
    row = trainer(model, lr=1e-30).fit(data, 1)[0]
    assert row["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_lone_last_image_is_left_out(model, data):
    short = xfer.data.Data(data.train.subset(range(33)), data.val, None, data.classes, "short")
    assert trainer(model).fit(short, 1)[0]["images"] == 32


def test_two_fits_are_one(model, data):
    """The optimizer's state, the order and the augmentation go on from fit to fit."""
    start = model.weights()
    one = trainer(model, augment="flip", restore_best=False)
    one.fit(data, 4)
    whole = model.weights()
    model.set_weights(start)
    two = trainer(model, augment="flip", restore_best=False)
    two.fit(data, 1)
    two.fit(data, 3)
    assert all(model.weights()[name].tobytes() == array.tobytes() for name, array in whole.items())


def test_an_interrupted_fit_is_finished_as_if_never_stopped(model, data, tmp_path):
    """Stop after two batches of the second epoch, move everything to a new trainer, and go on."""

    class StopAt(Callback):
        def on_step_end(self, trainer, step, loss):
            if trainer.epoch == 1 and step == 1:
                raise KeyboardInterrupt

    start = model.weights()
    whole = trainer(model, restore_best=False, schedule="cosine", augment="flip")
    whole.fit(data, 2)
    expected = model.weights()

    model.set_weights(start)
    first = trainer(model, restore_best=False, schedule="cosine", augment="flip", callbacks=[StopAt()])
    with pytest.raises(KeyboardInterrupt):
        first.fit(data, 2)
    assert (first.epoch, first.batch) == (1, 2)
    first.save(tmp_path)
    second = xfer.Trainer.resume(tmp_path, backend=model.backend, progress=False, restore_best=False)
    assert (second.epoch, second.batch, len(second.history)) == (1, 2, 1)
    rows = second.fit(data)
    assert (rows[-1]["epoch"], second.epoch, second.batch) == (2, 2, 0)
    assert all(second.model.weights()[name].tobytes() == array.tobytes() for name, array in expected.items())
    with pytest.raises(UsageError, match="no fit was interrupted"):
        second.fit(data)


def test_a_run_without_training_state_cannot_be_resumed(model, tmp_path):
    model.save(tmp_path)
    with pytest.raises(CheckpointError, match="holds a model but no training state"):
        xfer.Trainer.resume(tmp_path, backend=model.backend)


def test_early_stopping_and_best_weights(model, data):
    """A rate that is far too high after a good start: the fit ends early with the weights of its best epoch."""
    run = trainer(model, early_stopping=2, lr=1e-2)
    run.fit(data, 3)
    rows = run.fit(data, 30, lr=30.0)
    assert len(rows) < 30
    best = rows.best("val_loss", higher=False)
    assert model.evaluate(data).metrics["loss"] == pytest.approx(best["val_loss"], rel=1e-6)


def test_fine_tune_is_two_phases_with_lower_rates(model, data):
    run = trainer(model)
    rates = []

    class Rates(Callback):
        def on_epoch_begin(self, trainer, epoch, steps):
            rates.append((sorted(trainer.model.trainable)[-1], dict(trainer.rates)))

    run.callbacks.append(Rates())
    rows = run.fine_tune(data, head_epochs=1, epochs=1, unfreeze=1)
    assert rows.column("phase") == ["head", "fine-tune"]
    assert model.trainable == {"layer1.conv.weight", "fc.weight", "fc.bias"}, "batch norm keeps its statistics"
    assert rates[1][1]["head"] == pytest.approx(1e-3)
    assert rates[1][1]["layer1"] == pytest.approx(1e-3 / 2.6)


def test_layer_decay_is_of_every_fit(model, data):
    """In place of the 2.6 times of fine-tuning, too, and from rates that are given later."""
    run = trainer(model, layer_decay=0.5)
    assert run.rates == {"stem": 2.5e-3, "layer1": 5e-3, "head": 1e-2}
    run.fit(data, 1, lr=0.08)
    assert run.rates == {"stem": 0.02, "layer1": 0.04, "head": 0.08}
    run.fine_tune(data, head_epochs=0, epochs=1)
    assert run.rates == pytest.approx({"stem": 0.002, "layer1": 0.004, "head": 0.008})
    run.fine_tune(data, head_epochs=0, epochs=1, lr=0.04)
    assert run.rates == {"stem": 0.01, "layer1": 0.02, "head": 0.04}
    with pytest.raises(UsageError, match="by block are given beside layer_decay"):
        run.fit(data, 1, lr={"head": 0.1, "layer1": 0.01})


def test_fine_tune_trains_batch_norm_when_asked(model, data):
    trainer(model).fine_tune(data, head_epochs=0, epochs=1, unfreeze=1, train_norm=True)
    assert {"layer1.bn.weight", "layer1.bn.bias"} < model.trainable


def test_schedule_reaches_the_updates(model, data):
    seen = []
    run = trainer(model, schedule=xfer.Schedule("cosine", warmup=2))
    step = run.stepper.step
    run.stepper.step = lambda images, labels, rates, seed: (
        seen.append(rates["head"]) or step(images, labels, rates, seed)
    )
    run.fit(data, 3)
    assert seen == pytest.approx([1e-2 * run.schedule.factor(i, 12) for i in range(12)])


def test_classes_are_matched_by_name(model, data):
    """Data with fewer classes in another order is trained and judged by names, not by indices."""
    swapped = {"c": 0, "a": 1}
    keep = [i for i, y in enumerate(data.val.labels) if data.classes[y] in swapped]
    labels = np.array([swapped[data.classes[data.val.labels[i]]] for i in keep])
    val = xfer.data.Split([data.val.images[i] for i in keep], labels, [str(i) for i in keep], ("c", "a"))
    other = xfer.data.Data(val, val, None, ("c", "a"), "swapped")
    logits = model.logits(np.stack([data.val.images[i] for i in keep]))
    expected = float((logits.argmax(1) == data.val.labels[keep]).mean())
    assert model.evaluate(other).metrics["accuracy"] == expected
    unknown = xfer.data.Data(val, val, None, ("c", "zebra"), "zoo")
    with pytest.raises(DataError, match="class 'zebra', which the model does not know: it has a, b, c"):
        model.evaluate(unknown)


def test_metrics_are_scikit_learns():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(50, 8)), rng.integers(0, 8, 50)
    ours = classification_metrics(logits, labels)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert ours["loss"] == pytest.approx(log_loss(labels, p, labels=range(8)), rel=1e-12)
    assert ours["top5_accuracy"] == pytest.approx(top_k_accuracy_score(labels, logits, k=5, labels=range(8)))
    assert ours["macro_f1"] == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
    counts = np.zeros((8, 8), int)
    np.add.at(counts, (labels, logits.argmax(1)), 1)
    np.testing.assert_array_equal(confusion_matrix(labels, logits.argmax(1), 8), counts)


def test_tensorboard_gets_every_number(model, data, tmp_path):
    from xfer.training.callbacks import TensorBoard

    trainer(model, callbacks=[TensorBoard(tmp_path)]).fit(data, 1)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"val_accuracy" in written
    assert b"val_loss" in written


def test_progress_is_plain_lines_in_a_log(model, data, capsys):
    xfer.Trainer(model, batch_size=16).fit(data, 2, phase="head")
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().split("\n")
    assert len(lines) == 2
    assert lines[1].startswith("head epoch 2/2  loss ")
    assert "val_accuracy" in lines[1]


def test_refusals(model, data):
    with pytest.raises(UsageError, match="epochs=0"):
        trainer(model).fit(data, 0)
    with pytest.raises(UsageError, match="cannot watch 'val_acuracy'"):
        trainer(model, monitor="val_acuracy").fit(data, 1)
    model.set_weights({"fc.bias": model.weights()["fc.bias"] * np.nan})
    with pytest.raises(TrainingError, match="lower lr"):
        trainer(model).fit(data, 1)
    model.freezer.restore([])
    with pytest.raises(UsageError, match="nothing is trainable"):
        trainer(model).fit(data, 1)
