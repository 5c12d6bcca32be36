"""Trials in parallel on a Ray of this machine: each is the run of its options, and the study goes on."""

import json
import os
import subprocess
import sys

import pytest

from tests.suites.tuning import OPTIONS, pictures
from xfer.specs.settings import RunSettings
from xfer.workflows.setup import read_data
from xfer.workflows.tuning.trial import run_trial


def tune(folder, out, trials, *more):
    words = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "xfer", "tune", str(folder), "--trials", str(trials), "--out", str(out), *words]
    command += ["--metric", "accuracy", "--launcher", "ray", "--processes", "2", "--json", *more]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=550, check=False)


@pytest.mark.long
def test_parallel_trials_are_runs_of_their_options_and_go_on(tmp_path):
    folder = pictures(tmp_path / "pictures")
    for trials in (3, 7):
        done = tune(folder, tmp_path / "tune", trials)
        assert done.returncode == 0, done.stderr[-3000:]
        document = json.loads(done.stdout)
        assert [trial["number"] for trial in document["trials"]] == list(range(trials))
    config = RunSettings.of({**OPTIONS, "data": str(folder), "monitor": "val_accuracy"})
    complete = [trial for trial in document["trials"] if trial["state"] == "complete"]
    assert len(complete) >= 3
    for trial in complete:
        alone = run_trial(trial["number"], config, read_data(config), trial["params"], lambda epochs: False)
        assert alone.value == trial["value"]
        assert {str(epoch): value for epoch, value in alone.epochs.items()} == trial["epochs"]
    assert "trial 0: val_accuracy" in done.stderr or "trial 6: val_accuracy" in done.stderr


@pytest.mark.long
def test_what_a_trial_refuses_is_said_in_one_line(tmp_path):
    folder = pictures(tmp_path / "pictures")
    (folder / "val" / "a" / "0.png").write_bytes(b"no picture")
    done = tune(folder, tmp_path / "tune", 2, "--on-bad", "raise")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "cannot read" in last, done.stderr[-2000:]
