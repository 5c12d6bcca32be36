"""Experiment trackers: what MLflow and Weights & Biases have on disk, a run that is resumed, and trackers that fail."""

import json
import re
import struct
import time
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import xfer
from xfer.cli.app import app
from xfer.errors import UnknownNameError, UsageError
from xfer.runtime.distributed import DistributedContext
from xfer.specs.settings import RunSettings
from xfer.testing import NumpyBackend
from xfer.training import tracking
from xfer.training.callbacks import Callback, MLflow, Tracker, WandB
from xfer.training.history import History
from xfer.workflows.run import train

TINY = ["--model", "tiny", "--weights", "none", "--image-size", "16", "--limit", "40"]
BACKEND = "xfer.testing:NumpyBackend"


@pytest.fixture(autouse=True)
def nobody_logged_in(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "PATIENCE", 600.0)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_ALLOW_FILE_STORE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)


def mlflow_runs(folder):
    """Parameters, metrics as {name: {step: value}}, and the status of each run of a file store, from its files."""
    found = {}
    for meta in folder.glob("*/*/meta.yaml"):
        home = meta.parent
        metrics = {}
        for path in (home / "metrics").iterdir():
            lines = [line.split() for line in path.read_text().splitlines()]
            metrics[path.name] = {int(step): float(value) for _, value, step in lines}
        parameters = {path.name: path.read_text() for path in (home / "params").iterdir()}
        found[home.name] = parameters, metrics, int(re.search(r"status: (\d)", meta.read_text())[1])
    return found


def wandb_records(path):
    """The records of an offline run: LevelDB's log format, of which each record is a message of protobuf."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, parts, found = path.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            record = Record()
            record.ParseFromString(parts)
            found.append(record)
            parts = b""
    return found


def finished_records(path):
    """The records of a run that has ended, which its service writes a moment later."""
    until = time.monotonic() + 60
    while not any(record.WhichOneof("record_type") == "exit" for record in wandb_records(path)):
        assert time.monotonic() < until, f"{path} is not finished"
        time.sleep(0.05)
    return wandb_records(path)


def wandb_runs(folder):
    """Id, configuration, rows of the history and the summary of each offline run in a folder, the oldest first."""
    found = []
    for path in sorted(folder.glob("offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime):
        identity, config, rows, summary = None, {}, [], {}
        for record in finished_records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                identity = record.run.run_id
                config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            if kind == "history":
                items = record.history.item
                rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
            if kind == "summary":
                summary |= {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.summary.update}
        found.append((identity, config, rows, summary))
    return found


def test_a_run_has_its_options_rows_and_final_metrics_in_each_tracker(tmp_path):
    out = tmp_path / "run"
    options = ["--backend", BACKEND, "--epochs", "2", "--fine-tune", "1", "--track", "mlflow,wandb,tensorboard"]
    done = CliRunner().invoke(app, ["train", "digits", *TINY, *options, "--lr", "0.01", "--out", str(out)])
    assert done.exit_code == 0, done.stderr
    assert "fails" not in done.stderr
    history = json.loads((out / "history.json").read_text())
    metrics = json.loads((out / "metrics.json").read_text())
    numbers = [{name: x for name, x in row.items() if isinstance(x, float)} for row in history]
    assert len(numbers) == 3

    ((run_id, (parameters, logged, status)),) = mlflow_runs(out / "mlflow").items()
    assert metrics["tracking"]["mlflow"] == run_id
    assert status == 3  # finished
    assert (parameters["lr"], parameters["model"], parameters["epochs"]) == ("0.01", "tiny", "2")
    for epoch, row in enumerate(numbers, start=1):
        assert {name: logged[name][epoch] for name in row} == row
    assert logged["final_val_accuracy"] == {3: metrics["val"]["accuracy"]}

    ((identity, config, rows, summary),) = wandb_runs(out / "wandb")
    assert metrics["tracking"]["wandb"] == identity
    assert (config["lr"], config["model"]) == (0.01, "tiny")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for found, row in zip(rows, numbers, strict=True):
        assert {name: found[name] for name in row} == row
    assert summary["final_val_accuracy"] == metrics["val"]["accuracy"]

    written = b"".join(path.read_bytes() for path in (out / "tensorboard").iterdir())
    assert b"final_val_accuracy" in written
    assert b"lr: 0.01" in written


class Stopped(Callback):
    """Ends the process's part in the second epoch, when the servers have given their ids and one update was saved."""

    def on_epoch_end(self, trainer, row):
        until = time.monotonic() + 60
        while None in trainer.extra["tracking"].values() and time.monotonic() < until:
            time.sleep(0.01)

    def on_step_end(self, trainer, step, loss):
        if (trainer.epoch, step) == (1, 1):
            raise KeyboardInterrupt


def end_wandb(trainer):
    (tracker,) = (callback for callback in trainer.callbacks if isinstance(callback, WandB))
    tracker.finish({}, trainer.epoch)


def test_a_run_that_is_resumed_goes_on_in_the_same_runs(model, data, tmp_path):
    track = {"track": "mlflow,wandb", "progress": False, "cache": False, "batch_size": 16}
    where = xfer.Checkpoints(tmp_path / "checkpoints", steps=1)
    first = xfer.Trainer(model, checkpoints=where, callbacks=[Stopped()], **track)
    with pytest.raises(KeyboardInterrupt):
        first.fit(data, 3)
    ((run_id, (_, logged, status)),) = mlflow_runs(tmp_path / "mlflow").items()
    assert status == 5  # killed
    assert sorted(logged["loss"]) == [1]
    end_wandb(first)  # which a kill does in practice
    time.sleep(1.1)  # names of wandb's folders have seconds
    resumed = xfer.Trainer.resume(tmp_path, backend=NumpyBackend(), checkpoints=where, progress=False, cache=False)
    assert resumed.settings.track == ("mlflow", "wandb")
    resumed.fit(data)
    ((again, (_, logged, status)),) = mlflow_runs(tmp_path / "mlflow").items()
    assert (again, status) == (run_id, 3)
    assert list(logged["loss"].values()) == resumed.history.column("loss")
    end_wandb(resumed)
    before, after = wandb_runs(tmp_path / "wandb")
    assert before[0] == after[0] == resumed.extra["tracking"]["wandb"]
    assert [row["epoch"] for row in (*before[2], *after[2])] == [1, 2, 3]


class Fake(Tracker):
    """Fails, or waits, at what it is told to."""

    name, library = "fake", "json"

    def __init__(self, fails=None, waits=None):
        super().__init__()
        self.fails, self.waits, self.seen = fails, waits, []

    def call(self, what, value=None):
        self.seen.append((what, value))
        if what == self.fails:
            raise ConnectionError(f"https://me:secret@host of {what} is gone\nand more lines")
        if what == self.waits:
            Event().wait(30)

    def begin(self, run, config, folder):
        self.call("begin", run)
        return "one"

    def log(self, row, epoch):
        self.call("log", epoch)

    def end(self, metrics, epoch):
        self.call("end", metrics)


def weights_of(model, data, **options):
    model.freeze()
    trainer = xfer.Trainer(model, progress=False, batch_size=16, cache=False, **options)
    trainer.fit(data, 2)
    return trainer


@pytest.mark.parametrize("what", ["begin", "log", "end"])
def test_a_tracker_that_fails_is_one_line_and_changes_nothing(model, data, what, capsys):
    fake = Fake(fails=what)
    trainer = weights_of(model, data, callbacks=[fake])
    fake.finish({}, 2)
    assert capsys.readouterr().err == (f"fake fails (https://***@host of {what} is gone): the run goes on without it\n")
    assert len(trainer.history) == 2
    called = [name for name, _ in fake.seen]
    assert called == ["begin", "log", "log", "end"][: 1 + ["begin", "log", "log", "end"].index(what)]


def test_a_tracker_that_does_not_answer_is_given_up(model, data, capsys, monkeypatch):
    monkeypatch.setattr(tracking, "PATIENCE", 0.1)
    fake = Fake(waits="log")
    trainer = weights_of(model, data, callbacks=[fake])
    trainer.fit(data, 1)
    fake.finish({}, 3)
    assert capsys.readouterr().err == "fake fails (no answer in 0.1 s): the run goes on without it\n"
    assert fake.seen == [("begin", None), ("log", 1)]
    assert len(trainer.history) == 3


def test_servers_that_are_gone(tmp_path, monkeypatch, capfd):
    """The libraries' own errors; the run is saved, with the metrics of one that is not tracked."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    settings = {"model": "tiny", "weights": "none", "backend": BACKEND, "image_size": 16, "epochs": 1, "limit": 40}
    plain = train(RunSettings.of({"data": "digits", "out": str(tmp_path / "plain"), **settings}), progress=False)
    capfd.readouterr()
    tracked = {"track": "mlflow,wandb", "out": str(tmp_path / "run")}
    result = train(RunSettings.of({"data": "digits", **settings, **tracked}), progress=False)
    assert result.metrics["val"] == plain.metrics["val"]
    assert result.metrics["tracking"]["mlflow"] is None
    said = [line for line in capfd.readouterr().err.splitlines() if "the run goes on without it" in line]
    assert len(said) == 2
    assert any(line.startswith("mlflow fails (") for line in said)
    assert any("run `wandb login`, or set WANDB_MODE=offline" in line for line in said)


def test_the_main_process_alone_logs(model):
    fake = Fake()
    view = SimpleNamespace(distributed=DistributedContext(1, 2), extra={}, checkpoints=None, model=model, plan=None)
    fake.on_fit_begin(view, 1)
    fake.on_epoch_end(view, {"epoch": 1, "loss": 0.5})
    fake.on_fit_end(view)
    fake.finish({}, 1)
    assert (fake.seen, view.extra) == ([], {})


def test_a_head_that_is_an_estimator(model, data):
    from sklearn.linear_model import LogisticRegression

    fake = Fake()
    model.replace_head(["a", "b", "c"], xfer.Head.sklearn(LogisticRegression()))
    trainer = xfer.Trainer(model, progress=False, cache=False, callbacks=[fake])
    assert isinstance(trainer.fit(data, 1), History)
    fake.finish({"accuracy": 1.0}, 1)
    assert fake.seen == [("begin", None), ("log", 1), ("end", {"accuracy": 1.0})]


@pytest.mark.parametrize(("name", "kind"), [("mlflow", MLflow), ("wandb", WandB)])
def test_what_is_not_installed_is_said_before_anything_is_read(name, kind, monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "find_spec", lambda library: None)
    message = rf'needs {name}: pip install "xfer-learn\[{name}\]"'
    with pytest.raises(UsageError, match=message):
        kind()
    with pytest.raises(UsageError, match=message):
        train(RunSettings.of({"data": str(tmp_path / "nowhere"), "track": name, "out": str(tmp_path / "run")}))
    assert not (tmp_path / "run").exists()


def test_a_library_that_cannot_be_imported(model, data, capsys, tmp_path, monkeypatch):
    (tmp_path / "brokenlibrary.py").write_text("raise RuntimeError('built for another Python')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Fake, "library", "brokenlibrary")
    fake = Fake()
    weights_of(model, data, callbacks=[fake])
    assert capsys.readouterr().err == "fake fails (built for another Python): the run goes on without it\n"
    assert fake.seen == []


def test_an_unknown_tracker(model):
    with pytest.raises(UnknownNameError, match="did you mean 'mlflow'"):
        xfer.Trainer(model, track="mlfow")


def test_tracking_changes_no_weights(model, data, tmp_path):
    start = model.weights()
    weights_of(model, data)
    plain = model.weights()
    model.set_weights(start)
    weights_of(model, data, callbacks=[Fake(), MLflow(tmp_path)])
    for name, array in model.weights().items():
        np.testing.assert_array_equal(array, plain[name])
