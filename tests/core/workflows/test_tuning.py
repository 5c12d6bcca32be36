"""Searches of options: their best is that of plain runs, in parts they are the same, and what cannot be is one line."""

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import xfer
from tests.suites.tuning import NUMPY, OPTIONS, alike, pictures
from xfer.cli.app import app
from xfer.errors import CheckpointError, UnknownNameError, UsageError, XferError
from xfer.specs.settings import RunSettings
from xfer.specs.space import Choice, Range, default_space, parse_space, parse_words, searchable
from xfer.testing.numpy_backend.model import NumpyModel
from xfer.workflows.config import read_toml, run_settings, toml_text
from xfer.workflows.run import train
from xfer.workflows.tuning.result import Trial
from xfer.workflows.tuning.study import open_study

SPACE = {"lr": "1e-3..1", "optimizer": "sgd|adamw", "weight_decay": "0..0.1", "hidden": "8|16,4"}
TRIALS = 11  # the last of which TPE chooses by those before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("data") / "pictures")


def tune(folder, out, **options):
    settings = {"trials": TRIALS, "space": SPACE, "metric": "accuracy", "progress": False} | OPTIONS
    return xfer.tune(folder, out=out, **(settings | options))


@pytest.fixture(scope="module")
def passes():
    """Images that go through the network from its beginning, counted."""
    found, run = [], NumpyModel.run

    def counted(self, inputs, stages):
        found.extend([1] * len(inputs) if inputs.after is None else [])
        return run(self, inputs, stages)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NumpyModel, "run", counted)
        patch.setattr(xfer.FeatureCache, "estimate", lambda self, model, after, images: 64 * images)
        yield found


@pytest.fixture(scope="module")
def study(folder, tmp_path_factory, passes):
    place = tmp_path_factory.mktemp("study")
    found = tune(folder, place / "tune", cache=True)
    return replace(found, importance={**found.importance, "passes": len(passes)})


def test_all_trials_share_one_pass_over_the_images(study):
    assert study.importance["passes"] == 48


def test_the_best_is_that_of_plain_runs(study, folder, tmp_path):
    """`xfer train` with the options of each trial that is complete, one after the other."""
    values = {}
    for trial in study.trials:
        if trial.state == "complete":
            config = run_settings(OPTIONS, trial.params, {"data": str(folder / "train"), "monitor": "val_accuracy"})
            config = run_settings(config.document(), {"data": str(folder), "out": str(tmp_path / str(trial.number))})
            values[trial.number] = plain(config, folder)
    assert values == {trial.number: trial.value for trial in study.trials if trial.state == "complete"}
    assert values[study.best.number] == max(values.values())
    assert len(set(values.values())) > 1


def plain(config, folder):
    """What a run without the test split, which cannot be read here, says of validation."""
    test = folder / "test"
    aside = folder.parent / "test"
    test.rename(aside)
    try:
        return train(config, progress=False).metrics["val"]["accuracy"]
    finally:
        aside.rename(test)


def test_best_toml_is_the_run_of_the_best(study, folder):
    config = run_settings(read_toml(study.path / "best.toml"))
    assert config.document() == study.settings
    assert config.out == str(study.path / "best")
    assert plain(config, folder) == study.best.value
    assert study.command == f"xfer train --config {study.path / 'best.toml'}"


def test_in_parts_it_is_the_same(study, folder, tmp_path):
    """As after a kill: the journal ends with the eighth trial; the eleventh depends on all before."""
    lines = (study.path / "study.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune" / "study.jsonl").write_bytes(b"".join(lines[: 8 - TRIALS]))
    found = tune(folder, tmp_path / "tune")
    assert found.trials[:8] == study.trials[:8]
    assert found.trials[8:] != study.trials[8:]  # they took another time
    assert alike(found.document()["trials"]) == alike(study.document()["trials"])
    again = tune(folder, tmp_path / "tune", trials=2)  # which makes none, and takes none away
    assert again.trials == found.trials
    other = tune(folder, tmp_path / "other", trials=2, seed=1)
    assert other.trials[1].params != found.trials[1].params


def test_half_a_line_is_cut_off_and_damage_is_said(study, folder, tmp_path):
    tune(folder, tmp_path / "tune", trials=3)
    journal = tmp_path / "tune" / "study.jsonl"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(whole[: -len(lines[-1]) // 2])  # a process was killed, or the power was cut
    found = tune(folder, tmp_path / "tune", trials=3)
    assert alike(found.document()["trials"]) == alike(study.document()["trials"][:3])
    journal.write_bytes(b"{}\n" + whole)
    with pytest.raises(CheckpointError, match=r"study\.jsonl is damaged .*: remove it to begin again"):
        tune(folder, tmp_path / "tune", trials=3)


def test_another_search_in_the_folder_is_refused(folder, tmp_path):
    tune(folder, tmp_path, trials=1)
    for options, what in (
        ({"epochs": 3}, "epochs"),
        ({"metric": "macro_f1"}, "monitor"),
        ({"space": {"lr": "1e-3..2"}}, "space"),
        ({"prune": False}, "prune"),
        ({"seed": 5}, "seed"),
    ):
        with pytest.raises(UsageError, match=f"holds a search with another {what}: give the same, or another --out"):
            tune(folder, tmp_path, **options)
    (folder / "train" / "a" / "0.png").rename(folder.parent / "0.png")
    try:
        with pytest.raises(UsageError, match="another data"):
            tune(folder, tmp_path)
    finally:
        (folder.parent / "0.png").rename(folder / "train" / "a" / "0.png")


def test_a_trial_that_is_worse_than_the_median_is_pruned(tmp_path):
    """The rule by hand: the best value so far against the median of the values of complete trials at that epoch."""
    config, space = RunSettings.of({"data": "x"}), {"lr": Range(0.1, 1.0, False)}
    rng = np.random.default_rng(0)
    values = rng.random((6, 3))
    with open_study(tmp_path, config, space, {}, higher=True, prune=True) as study:
        assert not study.hopeless({1: 0.0})
        for number, row in enumerate(values):
            epochs = {epoch: float(value) for epoch, value in enumerate(row, 1)}
            study.tell(Trial(number, "complete", float(row.max()), {"lr": 0.5}, epochs, 1.0))
        for epoch in (1, 2, 3):
            median = float(np.median(values[:, epoch - 1]))
            assert study.hopeless({epoch: median - 1e-6})
            assert not study.hopeless({epoch: median + 1e-6})
            assert epoch == 1 or not study.hopeless({epoch - 1: 2.0, epoch: 0.0})  # the best so far counts
        study.tell(Trial(6, "pruned", 0.1, {"lr": 0.5}, {1: 0.1}, 1.0))
        study.tell(Trial(7, "failed", None, {"lr": 0.5}, {}, 1.0, "bad numbers"))
        assert [trial.state for trial in study.trials()[-3:]] == ["complete", "pruned", "failed"]
        assert study.trials()[7].reason == "bad numbers"
    with open_study(tmp_path, config, space, {}, higher=True, prune=True) as again:
        assert len(again.trials()) == 8
        assert again.ask(8) == again.ask(8) != again.ask(9)


def test_two_processes_do_not_share_a_folder(tmp_path):
    config, space = RunSettings.of({"data": "x"}), {"lr": Range(0.1, 1.0, False)}
    with (
        FileLock(tmp_path / ".lock", is_singleton=False),
        pytest.raises(UsageError, match="another process tunes in"),
        open_study(tmp_path, config, space, {}, higher=True, prune=True),
    ):
        pass


def test_trials_that_fail_are_listed_and_a_search_of_nothing_else_says_why(folder, tmp_path):
    mixed = tune(folder, tmp_path / "mixed", trials=4, space={"lr": ["1e-2", "1e40"]}, optimizer="sgd")
    assert {trial.state for trial in mixed.trials} == {"complete", "failed"}
    assert all((trial.state == "failed") == (trial.params["lr"] == 1e40) for trial in mixed.trials)
    with pytest.raises(XferError, match=r"no trial of 2 is complete: .*not finite"):
        tune(folder, tmp_path / "bad", trials=2, space={"lr": "1e40..1e41"}, optimizer="sgd")


def test_a_timeout_ends_it_between_two_trials(folder, tmp_path):
    with pytest.raises(XferError, match="no trial of 0 is complete"):
        tune(folder, tmp_path, timeout=1e-9)


def test_the_command_line(study, folder, tmp_path):
    words = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    (tmp_path / "xfer.toml").write_text('[space]\nlr = "1e-3..1"\noptimizer = ["sgd", "adamw"]\n')
    command = ["tune", str(folder), "--trials", "2", "--metric", "accuracy", "--out", str(tmp_path / "tune"), *words]
    done = CliRunner().invoke(app, [*command, "--config", str(tmp_path / "xfer.toml"), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["space"] == {"lr": "0.001..1", "optimizer": "sgd|adamw"}
    assert document["trials"][0]["params"] == {"lr": 1e-3, "optimizer": "adamw"}  # those of plain `xfer train`
    spaced = ["--space", "lr=1e-3..1", "--space", "optimizer=sgd|adamw"]
    again = CliRunner().invoke(app, [*command, *spaced], env={"COLUMNS": "160"})
    assert again.exit_code == 0, again.output
    assert f"train with its options: xfer train --config {tmp_path / 'tune' / 'best.toml'}" in again.stdout
    page = (tmp_path / "tune" / "tuning.html").read_text("utf-8")
    assert "is optimistic, because the trial was chosen by it" in page
    assert "The 2 images of the test split were not looked at." in page
    assert page.count("<svg") == 1  # two trials say nothing of importance
    assert (study.path / "tuning.html").read_text("utf-8").count("<svg") == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "the search space is empty"),
        ({"larning_rate": "1..2"}, "unknown option in the search space 'larning_rate'"),
        ({"limit": "1..2"}, "option limit cannot be searched"),
        ({"seed": "1..2"}, "option seed cannot be searched"),
        ({"lr": "1e-3"}, "search space lr=1e-3: expected LOW..HIGH, or two or more choices"),
        ({"lr": "1..1"}, "give the lower end first"),
        ({"lr": "-1..1"}, "option lr=-1: give more than 0"),
        ({"lr": "a..b"}, "option lr=a: input should be a valid number"),
        ({"optimizer": "sgd..adam"}, "optimizer is no number: give choices"),
        ({"optimizer": "sgd|sdg"}, "unknown optimizer 'sdg'; did you mean 'sgd'"),
        ({"optimizer": "sgd|sgd"}, "a choice is given twice"),
        ({"hidden": [[8], [16]]}, "is no text or number: write it as on the command line"),
        ({"epochs": "1..5"}, "option epochs is given and in the search space"),
        ({"lr": 3}, "expected LOW..HIGH"),
    ],
    ids=str,
)
def test_a_space_that_cannot_be_is_one_line(given, message):
    with pytest.raises(UsageError, match=message) as error:
        parse_space(given, {"data": "x", "epochs": 3})
    assert "\n" not in str(error.value)


WORDS = ["none", "mixup"]


def test_a_space_as_it_is_meant():
    found = parse_space(
        {"lr": "1e-4..1e-1", "label_smoothing": "0..0.2", "epochs": "5..10", "nesterov": "true|false", "mix": WORDS},
        {"data": "x"},
    )
    assert found == {
        "epochs": Range(5, 10, True),
        "label_smoothing": Range(0, 0.2, False),
        "lr": Range(1e-4, 0.1, False),
        "mix": Choice(("none", "mixup")),
        "nesterov": Choice((True, False)),
    }
    assert [each.log for each in found.values() if isinstance(each, Range)] == [False, False, True]
    assert parse_words(["weight-decay=0..1", "lr=1|2"]) == {"weight_decay": "0..1", "lr": "1|2"}
    for words, message in ((["lr"], "expected NAME="), (["lr=1|2", "lr=1|2"], "lr is given twice")):
        with pytest.raises(UsageError, match=message):
            parse_words(words)
    assert "lr" in searchable()
    assert not {"data", "out", "workers", "seed"} & set(searchable())


def test_the_default_space_leaves_out_what_is_given():
    assert set(default_space(RunSettings.of({"data": "x"}), 4)) == {"lr", "weight_decay", "label_smoothing"}
    tuned = RunSettings.of({"data": "x", "lr": 0.1, "fine_tune": 3})
    assert default_space(tuned, 2) == {
        "weight_decay": "1e-5..1e-1",
        "label_smoothing": "0..0.2",
        "fine_tune_lr": "1e-5..1e-2",
        "unfreeze": "1..2",
        "augment": ["none", "light"],
    }
    assert default_space(RunSettings.of({"data": "x", "estimator": "knn"}), 4) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, "trials=0"),
        ({"metric": "acuracy"}, "unknown metric 'acuracy'; did you mean 'accuracy'"),
        ({"space": {"momentum": ["0", "0.9"]}, "optimizer": "sgd", "nesterov": True}, "nesterov needs momentum"),
        ({"track": "mlflow"}, "track is no option of a search"),
        ({"monitor": "loss"}, "monitor is no option of a search"),
        ({"launcher": "slurm"}, "unknown launcher 'slurm'"),
        ({"space": None, "lr": 0.1, "weight_decay": 0, "label_smoothing": 0}, "nothing is left to search"),
    ],
    ids=str,
)
def test_what_a_search_would_fail_at_later_is_refused_at_once(options, message, tmp_path):
    with pytest.raises(UsageError, match=message) as error:
        tune(tmp_path / "nowhere", tmp_path / "tune", **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "tune").exists()


def test_data_without_validation_is_refused(folder, tmp_path):
    with pytest.raises(XferError):
        tune(folder / "nowhere", tmp_path)
    with pytest.raises(UnknownNameError, match="unknown option 'epoch'"):
        tune(folder, tmp_path, epoch=3)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1)


@given(
    st.fixed_dictionaries({
        "data": NAMES,
        "lr": st.floats(1e-300, 1e300) | st.just("auto") | st.dictionaries(NAMES, st.floats(1e-9, 1)),
        "hidden": st.lists(st.integers(1, 99), max_size=3),
        "nesterov": st.booleans(),
        "limit": st.none() | st.integers(1, 10**12),
    })
)  # fmt: skip
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_settings_as_toml_are_the_settings(given):
    config = RunSettings.of({**given, "backend": NUMPY})
    assert RunSettings.of(tomllib.loads(toml_text(config.document()))) == config


def test_a_name_that_toml_cannot_hold_is_said():
    with pytest.raises(UsageError, match="no Unicode, which TOML cannot hold"):
        toml_text({"data": "a\udcff"})
