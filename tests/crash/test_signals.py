"""Ctrl-C and SIGTERM leave a run that goes on, and the usual exit codes."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.checkpoints.rotation import FOLDER, checkpoints_in
from xfer.cli.app import app

NET = ["--model", "tiny", "--weights", "none", "--backend", "xfer.testing:NumpyBackend", "--image-size", "16"]
OPTIONS = [*NET, "--lr", "0.05", "--no-cache"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(60):
        pixels = rng.integers(0, 120, (16, 16, 3))
        pixels[..., i % 2] += 100
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


def command(pictures, out, *more, epochs=30):
    return ["train", str(pictures), *OPTIONS, "--epochs", str(epochs), "--out", str(out), *more]


def begin(pictures, out, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "xfer", *command(pictures, out, "--checkpoint-steps", "1", *more)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=hear,
    )


def hear():
    """Whoever runs the tests in the background may have had SIGINT ignored, which processes inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(condition):
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def result(out):
    metrics = json.loads((out / "metrics.json").read_text())
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in metrics["epochs"]]
    manifest = open_checkpoint(out).manifest
    return manifest.tensors.sha256, manifest.optimizer.sha256, history, metrics["val"], metrics["resumed"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_same_command_goes_on(pictures, tmp_path, number, code):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert CliRunner().invoke(app, command(pictures, whole)).exit_code == 0
    process = begin(pictures, broken)
    wait_for(lambda: len(checkpoints_in(broken / FOLDER)) == 2)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == code
    newest = checkpoints_in(broken / FOLDER)[0]
    assert said.splitlines()[-1] == f"interrupted: the same command goes on from {newest}"
    state = open_checkpoint(newest).manifest.training
    again = CliRunner().invoke(app, command(pictures, broken))
    assert again.exit_code == 0
    batch = f", batch {state.step + 1}" if state.step else ""
    assert f"going on from epoch {state.epoch + 1}{batch}: {newest}" in again.stderr
    *expected, resumed = result(whole)
    *found, position = result(broken)
    assert found == expected
    assert resumed is None
    seconds = position.pop("seconds_before")
    assert position == {"epoch": state.epoch, "batch": state.step}
    assert 0 < seconds < json.loads((broken / "metrics.json").read_text())["seconds"]["total"]
    assert not (broken / FOLDER).exists()


def test_resume_needs_no_other_option(pictures, tmp_path):
    process = begin(pictures, tmp_path / "run")
    wait_for(lambda: len(checkpoints_in(tmp_path / "run" / FOLDER)) == 2)
    process.kill()
    process.wait()
    run = ["train", "--out", str(tmp_path / "run"), "--resume"]
    again = CliRunner().invoke(app, run)
    assert again.exit_code == 0, again.stderr
    assert "going on from epoch" in again.stderr
    once_more = CliRunner().invoke(app, [*run, "--json"])
    assert once_more.exit_code == 0
    assert json.loads(once_more.stdout) == json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "is finished" in once_more.stderr


def test_another_command_is_refused(pictures, tmp_path):
    process = begin(pictures, tmp_path / "run")
    wait_for(lambda: len(checkpoints_in(tmp_path / "run" / FOLDER)) == 2)
    process.kill()
    process.wait()
    other = CliRunner().invoke(app, command(pictures, tmp_path / "run", "--seed", "1"))
    assert other.exit_code == 2
    assert "holds an interrupted run with another seed: give the same to go on, another --out" in other.stderr
    (pictures / "a" / "0.png").rename(pictures / "a" / "zero.png")
    try:
        changed = CliRunner().invoke(app, command(pictures, tmp_path / "run", "--checkpoint-steps", "1"))
    finally:
        (pictures / "a" / "zero.png").rename(pictures / "a" / "0.png")
    assert changed.exit_code == 1
    assert "has changed since the run was interrupted" in changed.stderr


def test_two_runs_do_not_share_a_folder(pictures, tmp_path):
    process = begin(pictures, tmp_path / "run")
    wait_for(lambda: checkpoints_in(tmp_path / "run" / FOLDER))
    other = CliRunner().invoke(app, command(pictures, tmp_path / "run"))
    process.kill()
    process.wait()
    assert other.exit_code == 1
    assert f"another run is writing into {tmp_path / 'run'}: wait for it, or give another folder" in other.stderr
    assert CliRunner().invoke(app, command(pictures, tmp_path / "run")).exit_code == 0  # the lock of the dead is free


def test_a_second_signal_ends_at_once_and_leaves_the_last_checkpoint(pictures, tmp_path):
    process = begin(pictures, tmp_path / "run")
    wait_for(lambda: len(checkpoints_in(tmp_path / "run" / FOLDER)) == 2)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    for path in checkpoints_in(tmp_path / "run" / FOLDER):
        open_checkpoint(path).verify()


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.long), (signal.SIGTERM, 143)]
)
def test_the_same_prediction_goes_on(pictures, tmp_path, number, code):
    run, names = tmp_path / "run", tmp_path / "list.txt"
    assert CliRunner().invoke(app, command(pictures, run, epochs=1)).exit_code == 0
    names.write_text("\n".join(str(path) for path in sorted(pictures.rglob("*.png")) * 40))
    predict = ["predict", str(run), str(names), "--backend", NET[5], "--top", "1", "--out"]
    whole, broken = tmp_path / "whole.csv", tmp_path / "broken.csv"
    arguments = [sys.executable, "-m", "xfer", *predict, str(broken)]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=hear)
    parts = tmp_path / "broken.csv.parts"
    wait_for(lambda: (parts / "00000001.part").exists())
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == code
    assert said.splitlines() == [f"interrupted: the same command goes on from {parts}"]
    other = CliRunner().invoke(app, [*predict, str(broken), "--tta", "flip"])
    assert other.exit_code == 2
    assert "holds interrupted predictions with another tta" in other.stderr
    for out in (broken, whole):
        assert CliRunner().invoke(app, [*predict, str(out)]).exit_code == 0
    assert broken.read_bytes() == whole.read_bytes()
    assert not parts.exists()
