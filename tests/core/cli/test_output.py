"""What a person, a log and a script see of a command."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from typing import Literal, get_args, get_origin

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import xfer
from tests.suites.progress import FakeClock, recorded
from xfer.cli.app import app
from xfer.cli.options import TITLES
from xfer.data.sources.lists import listed
from xfer.features.cache import FeatureCache
from xfer.runtime import progress
from xfer.specs.settings import RunSettings
from xfer.testing import NumpyBackend
from xfer.workflows.prediction.job import PredictionJob, PredictionOptions

NET = ["--model", "tiny", "--weights", "none", "--backend", "xfer.testing:NumpyBackend", "--image-size", "16"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(50):
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    done = CliRunner().invoke(app, ["train", str(pictures), *NET, "--epochs", "1", "--out", str(out)])
    assert done.exit_code == 0, done.stderr
    return out


@pytest.fixture
def model():
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16)


def test_every_pass_over_images_reports_all_of_them(model, pictures, tmp_path, monkeypatch):
    data = xfer.data.folder(pictures)
    with recorded(monkeypatch) as seen:
        model.evaluate(data, batch_size=8)
        model.evaluate(data, batch_size=8, tta="flip")
        model.predict(pictures, batch_size=8)
        list(model.predict_iter(data.train, batch_size=8))
        xfer.data.inspect(data)
        xfer.extract(model, data, batch_size=8, cache=False)
        model.freeze()
        FeatureCache(tmp_path / "cache").fill(model, data, batch_size=7)
        trainer = xfer.Trainer(model, batch_size=16, cache=False)
        trainer.fit(data, 2, phase="head")
        PredictionJob(tmp_path / "t.csv").run(model, listed([pictures]), PredictionOptions(batch_size=8))
        xfer.bag(model, data, members=3, epochs=1).evaluate(data)
    counted = {name: (work.done, work.total) for name, work in seen.items() if work.counted}
    assert counted == {
        "evaluating": (10, 10),
        "evaluating view 1 of 2": (10, 10),
        "evaluating view 2 of 2": (10, 10),
        "predicting": (50, 50),
        "inspecting train": (40, 40),
        "inspecting val": (10, 10),
        "hashing images": (10, 10),
        "extracting features": (10, 10),
        "head epoch 1/2": (40, 40),
        "head epoch 2/2": (40, 40),
        "validating": (10, 10),
        "training heads": (3, 3),
        "evaluating 3 heads": (10, 10),
    }
    assert re.fullmatch(r"loss \d\.\d{4}", seen["head epoch 2/2"].note)


def test_features_count_what_is_missing_alone(model, pictures, tmp_path, monkeypatch):
    data, cache = xfer.data.folder(pictures), FeatureCache(tmp_path)
    cache.fill(model, xfer.data.Data(data.val, None, None, data.classes, "some"))
    with recorded(monkeypatch) as seen:
        cache.fill(model, data)
    assert (seen["extracting features"].done, seen["extracting features"].total) == (40, 40)


def test_an_epoch_that_goes_on_begins_where_it_was(model, pictures, monkeypatch):
    class Stop(xfer.callbacks.Callback):
        def on_step_end(self, trainer, step, loss):
            if step == 1:
                raise KeyboardInterrupt

    data = xfer.data.folder(pictures)
    trainer = xfer.Trainer(model, batch_size=8, cache=False, callbacks=[Stop()])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(data, 1)
    trainer.callbacks.pop(0)
    with recorded(monkeypatch) as seen:
        trainer.fit(data)
    assert seen["epoch 1/1"].first == 16
    assert seen["epoch 1/1"].done == 40


def test_python_is_silent_unless_asked(model, pictures, monkeypatch, capsys):
    monkeypatch.setattr(progress, "CLOCK", Slow())
    data = xfer.data.folder(pictures)
    model.evaluate(data)
    model.predict(pictures)
    xfer.Trainer(model, progress=False, cache=False).fit(data, 1)
    assert capsys.readouterr().err == ""
    with xfer.show_progress():
        model.evaluate(data, batch_size=1)
        xfer.Trainer(model, progress=False, cache=False).fit(data, 1)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(re.fullmatch(r"evaluating: \d+ of \d+ images, .*", line) for line in lines), lines


class Slow(FakeClock):
    """Each look at it takes ten seconds."""

    def now(self):
        self.pass_by(10)
        return self.time


def test_a_long_run_in_a_log(pictures, tmp_path, monkeypatch):
    """Epochs are lines as ever, and what takes minutes has lines between them."""
    monkeypatch.setattr(progress, "CLOCK", Slow())
    monkeypatch.setenv("XFER_FEATURES", str(tmp_path / "features"))
    command = ["train", str(pictures), *NET, "--epochs", "2", "--batch-size", "2", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.stderr
    json.loads(done.stdout)
    lines = done.stderr.splitlines()
    assert [line for line in lines if re.match(r"head epoch \d/2  loss", line)]
    between = re.compile(r"head epoch \d/2: \d+ of 40 images, [\d.]+/s, .* left, loss \d")
    assert any(map(between.match, lines)), lines
    assert any(line.startswith("hashing images: ") for line in lines)


def command_line(*arguments, **options):
    return subprocess.Popen([sys.executable, "-m", "xfer", *map(str, arguments)], **options)


@pytest.mark.parametrize("how", ["broken", pytest.param("closed", marks=pytest.mark.long)])
def test_a_run_does_not_need_its_stderr(pictures, tmp_path, how):
    """Its reader has gone, or it was closed before: the run goes on, and stdout has its result alone."""
    reading, writing = os.pipe()
    os.close(reading)
    process = command_line(
        *("train", pictures, *NET, "--epochs", "2", "--out", tmp_path / "run", "--json"),
        stdout=subprocess.PIPE,
        stderr=writing,
        preexec_fn=(lambda: os.close(2)) if how == "closed" else None,
    )
    os.close(writing)
    found = json.loads(process.communicate()[0])
    assert process.returncode == 0
    assert len(found["epochs"]) == 2


def test_ascii_and_no_colours_in_a_pipe(run, pictures):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "NO_COLOR": "1", "COLUMNS": "40"}
    environment.pop("FORCE_COLOR", None)
    process = command_line(
        *("evaluate", run, pictures, "--backend", "xfer.testing:NumpyBackend"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    out, said = process.communicate()
    assert process.returncode == 0, said
    assert b"\x1b" not in said
    text = out.decode("ascii")
    assert "accuracy" in text
    assert "\x1b" not in text
    assert "\\u" not in text, "the lines of the table are of ASCII, too"
    assert max(map(len, text.splitlines())) <= 40


def test_a_bar_and_ctrl_c_in_a_terminal(pictures, tmp_path):
    """The bar goes, the cursor was never hidden, and one line says how to go on."""
    ours, theirs = pty.openpty()
    command = ("train", pictures, *NET, "--epochs", "100000", "--no-cache", "--out", tmp_path / "run")
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    hear = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - where tests run in the background
    process = command_line(
        *(*command, "--augment", "strong", "--batch-size", "1", "--workers", "0", "--limit", "40"),
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment,
        preexec_fn=hear,
    )
    os.close(theirs)
    said = read_until(ours, lambda text: "head epoch 2/" in text)
    process.send_signal(signal.SIGINT)
    said += read_until(ours, lambda text: "interrupted" in text and text.endswith("\n"))
    assert process.wait(60) == 130
    os.close(ours)
    assert "\x1b[?25" not in said
    last = said.rstrip("\r\n").splitlines()[-1]
    assert re.sub(r".*(\r|\x1b\[2K)", "", last).startswith("interrupted: the same command goes on from ")


def read_until(terminal, enough):
    found, until = b"", time.monotonic() + 300
    while not enough(found.decode(errors="replace")):
        assert time.monotonic() < until, found
        if select.select([terminal], [], [], 1)[0]:
            try:
                found += os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
    return found.decode(errors="replace")


def test_libraries_that_print_do_not_reach_stdout(model):
    from xfer.cli.guard import quiet_stdout

    out = io.StringIO()
    before, sys.stdout = sys.stdout, out
    try:
        with quiet_stdout():
            print("chatter")
        print("result")
    finally:
        sys.stdout = before
    assert out.getvalue() == "result\n"


@pytest.mark.parametrize("width", [80, 120])
def test_help_names_every_option_group_and_choice(width, monkeypatch):
    monkeypatch.setenv("TERMINAL_WIDTH", str(width))
    monkeypatch.setenv("COLUMNS", str(width))
    process = command_line("train", "--help", stdout=subprocess.PIPE, text=True)
    text = process.communicate()[0]
    assert max(map(len, text.splitlines())) <= width
    order = [text.index(f" {title} ─") for title in TITLES.values()]
    assert order == sorted(order)
    words = re.findall(r"[\w-]+", text)
    for _, field in RunSettings.options():
        for name in get_args(field.annotation) if get_origin(field.annotation) is Literal else ():
            assert name in words, "it is not cut in two"
