"""lr="auto": the suggestion, which rates it scales, what a checkpoint says of it, and what is refused."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import xfer
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.errors import TrainingError, UsageError
from xfer.report.card import Card
from xfer.report.run_page import write_run_page
from xfer.specs.settings import RunSettings
from xfer.testing import NumpyBackend
from xfer.training.callback import Callback
from xfer.training.range_test import RANGE_TEST, RangeTest, smooth, suggestion, valley
from xfer.workflows.config import read_toml, run_settings
from xfer.workflows.run import train

NUMPY = "xfer.testing:NumpyBackend"


def trainer(model, **options):
    return xfer.Trainer(model, **({"lr": "auto", "progress": False, "batch_size": 16, "cache": False} | options))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9))
@settings(max_examples=150, deadline=None)
def test_the_valley_is_the_longest_falling_subsequence(losses):
    """By trying all subsequences; the end is the first place at which one of the greatest length ends."""
    falling = [
        c
        for n in range(1, len(losses) + 1)
        for c in itertools.combinations(range(len(losses)), n)
        if all(losses[a] > losses[b] for a, b in itertools.pairwise(c))
    ]
    longest = max(map(len, falling))
    end = min(c[-1] for c in falling if len(c) == longest)
    length = end - (end - longest if longest > 1 else 0)
    start = end - length
    assert valley(losses) == max(start + int(length / 3) + int(length / 3 / 2), 0)


def test_the_suggestion_is_in_the_middle_of_the_fall():
    """A loss that is flat, falls from 1e-4 to 1e-2, and rises: the middle is 1e-3."""
    rates = np.logspace(-7, 1, 81)
    losses = np.interp(np.log10(rates), [-7, -4, -2, -1, 1], [2.0, 2.0, 0.5, 0.5, 6.0])
    assert suggestion(list(rates), list(losses), 81) == pytest.approx(1e-3, rel=0.3)
    assert RangeTest.of([1e-9] * 3, [1.0, 2.0, 3.0], updates=100, diverged=True).lr == 1e-6  # the least
    assert RangeTest.of([5.0] * 3, [3.0, 2.0, 1.0], updates=100, diverged=True).lr == 1.0
    assert smooth([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])


def test_a_diverging_test_ends_early(model, data):
    found = trainer(model, optimizer="sgd", momentum=0).find_lr(data, high=1e6)
    assert found.diverged
    assert len(found.rates) < 100
    assert found.smoothed[-1] > 4 * min(found.smoothed)


def test_it_tests_once_and_a_checkpoint_knows_the_rate(model, data, tmp_path, capsys):
    run = trainer(model)
    assert run.auto_lr == "auto"
    run.fit(data, 1)
    lr = run.auto_lr
    assert run.rates == dict.fromkeys(model.blocks, lr)
    assert run.extra[RANGE_TEST]["lr"] == lr
    assert f"learning rate: {lr:.3g}\n" in capsys.readouterr().err
    assert RangeTest(**{k: tuple(v) if isinstance(v, list) else v for k, v in run.extra[RANGE_TEST].items()}).lr == lr
    run.fit(data, 1)
    assert (run.auto_lr, "learning rate" in capsys.readouterr().err) == (lr, False)
    run.save(tmp_path)
    assert open_checkpoint(tmp_path).manifest.training.auto_lr == lr
    again = xfer.Trainer.resume(tmp_path, backend=NumpyBackend(), progress=False)
    assert (again.auto_lr, again.rates["head"], again.settings.lr) == (lr, lr, "auto")
    assert again.extra[RANGE_TEST] == json.loads(json.dumps(run.extra[RANGE_TEST]))


@pytest.mark.parametrize("at", [(0, 0), (1, 2)], ids=["first batch", "later"])
def test_a_resumed_fit_has_the_rate_that_was_found(model, data, tmp_path, at, monkeypatch):
    class StopAt(Callback):
        def on_step_end(self, trainer, step, loss):
            if (trainer.epoch, step) == at:
                raise KeyboardInterrupt

    start = model.weights()
    trainer(model, restore_best=False).fit(data, 2)
    expected = model.weights()
    model.set_weights(start)
    first = trainer(model, restore_best=False, callbacks=[StopAt()], checkpoints=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        first.fit(data, 2)
    monkeypatch.setattr("xfer.training.range_test.sweep", None)  # which is not called again
    second = xfer.Trainer.resume(tmp_path, backend=NumpyBackend(), progress=False, restore_best=False)
    assert second.auto_lr == first.auto_lr  # also from the checkpoint that is written right after the test
    second.fit(data)
    assert all(second.model.weights()[name].tobytes() == array.tobytes() for name, array in expected.items())


def test_an_interrupted_test_leaves_the_model_as_it_was(model, data, tmp_path, monkeypatch):
    start, run = model.weights(), trainer(model, checkpoints=tmp_path)
    step, steps = run.stepper.step, []

    def third(*given):
        if len(steps) == 2:
            raise KeyboardInterrupt
        steps.append(step(*given))
        return steps[-1]

    monkeypatch.setattr(run.stepper, "step", third)
    with pytest.raises(KeyboardInterrupt):
        run.fit(data, 1)
    assert all(array.tobytes() == start[name].tobytes() for name, array in model.weights().items())
    assert not any(array.any() for array in run.stepper.state().values())
    assert run.auto_lr == "auto"


def test_fine_tuning_lowers_the_rate_that_was_found(model, data):
    run = trainer(model)
    run.fine_tune(data, head_epochs=1, epochs=1)
    assert run.base_rates["head"] == run.auto_lr
    assert run.rates["head"] == pytest.approx(run.auto_lr / 10)
    assert run.rates["layer1"] == pytest.approx(run.auto_lr / 26)


def test_fine_tuning_alone_tests_its_own_ratios(model, data):
    run = trainer(model)
    run.fine_tune(data, head_epochs=0, epochs=1)
    assert run.rates["head"] == pytest.approx(run.auto_lr)
    assert run.rates["layer1"] == pytest.approx(run.auto_lr / 2.6)
    assert run.lower_rates() == pytest.approx(run.rates)


def test_a_rate_that_is_given_after_all_is_not_tested(model, data):
    run = trainer(model)
    run.fit(data, 1, lr=0.01)
    assert (run.auto_lr, run.rates["head"], RANGE_TEST in run.extra) == (None, 0.01, False)
    tuned = trainer(model)
    tuned.fine_tune(data, head_epochs=0, epochs=1, lr=0.02)
    assert (tuned.auto_lr, tuned.rates["head"], tuned.base_rates["head"]) == (None, 0.02, 0.02)


def test_nothing_else_is_changed(model, data):
    """Neither what the model was trained on, nor NumPy's random state, nor the batch size that "auto" would measure."""
    run = trainer(model, batch_size="auto")
    before, known = np.random.get_state()[1].tobytes(), model.trained_on.among(data.source, data.train).any()
    run.find_lr(data, updates=10)
    assert np.random.get_state()[1].tobytes() == before
    assert model.trained_on.among(data.source, data.train).any() == known
    assert (run.batch_size, run.cached, run.epoch, run.history) == (32, None, 0, [])


def test_losses_that_need_the_numbers_of_the_classes(model, data):
    assert trainer(model, class_weights="balanced").find_lr(data, updates=20).lr > 0


def test_what_cannot_be_tested_is_refused(model, data):
    run = trainer(model)
    for wrong in ({"updates": 9}, {"low": 0.0}, {"low": 1.0, "high": 0.1}, {"high": float("inf")}):
        with pytest.raises(UsageError, match="give at least 10, and 0 < low < high"):
            run.find_lr(data, **wrong)
    model.write({"conv1.weight": np.full(model.shapes()["conv1.weight"], np.nan, np.float32)})
    with pytest.raises(TrainingError, match="bad numbers in the first batch of the test of learning rates"):
        run.find_lr(data)
    model.freezer.restore(())
    with pytest.raises(UsageError, match="nothing is trainable"):
        run.find_lr(data)


def test_estimators_are_refused(data):
    head = xfer.Head.sklearn(LogisticRegression())
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=data.classes, image_size=16, head=head)
    model.freeze()
    with pytest.raises(UsageError, match="an estimator has none"):
        trainer(model).fit(data, 1)
    with pytest.raises(UsageError, match="the head is an estimator, which has no learning rate"):
        trainer(model, lr=0.1).find_lr(data)


def test_a_run_says_which_rate_it_found(tmp_path):
    """From the command line's text and from TOML; in metrics.json, in the manifest and on the page."""
    small = {"data": "digits", "limit": 40, "model": "tiny", "weights": "none", "image_size": 16, "epochs": 1}
    (tmp_path / "xfer.toml").write_text('lr = "auto"\n')
    config = run_settings(read_toml(tmp_path / "xfer.toml"), small, {"backend": NUMPY, "out": str(tmp_path / "run")})
    assert config == run_settings(small, {"lr": "auto", "backend": NUMPY, "out": str(tmp_path / "run")})
    result = train(config, progress=False)
    lr = result.metrics[RANGE_TEST]["lr"]
    assert result.metrics["epochs"][0]["lr"] == lr == open_checkpoint(tmp_path / "run").manifest.training.auto_lr
    page = write_run_page(result).read_text("utf-8")
    assert f"Range test of learning rates: {lr:.3g} was taken" in page
    card = Card("me/run", open_checkpoint(tmp_path / "run").manifest, result.metrics, None, None, False)
    assert f"| lr found by the range test | {lr:.6g} |" in card.text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "knn"}, "estimator=knn has no learning rate"),
        ({"epochs": 0, "fine_tune": 2, "fine_tune_lr": 0.1}, "fine_tune_lr=0.1 replaces: leave one out"),
    ],
)
def test_a_run_without_a_rate_to_find_is_refused_before_the_data_is_read(options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        train(RunSettings.of({"data": str(tmp_path / "nowhere"), "lr": "auto", **options}), progress=False)
