"""A trace on disk: what is written is read, and what is damaged is named in one line."""

import json
from dataclasses import replace

import numpy as np
import pytest

import xfer
from tests.core.traces.craft import craft
from xfer.errors import DataError, UsageError
from xfer.traces.record import Recorder
from xfer.traces.trace import DOCUMENT, StepNotes, open_trace, step_file


class Plain(Recorder):
    """A recorder that is told everything."""

    def step(self, images=None, labels=None, loss=None, raw=()):
        state = {"w": np.float32([loss])}
        self.keep(StepNotes(loss=loss), {"out/a": np.zeros(100, "f4"), "batch/labels": np.arange(3)}, state)

    def __enter__(self):
        self.before = {"w": np.float32([0.0])}
        return self

    def __exit__(self, *error):
        self.close()

    def describe(self):
        return replace(self.notes, steps=[])


@pytest.fixture
def trace(tmp_path):
    return craft(tmp_path / "trace")


def recorder(trace, out, **options):
    found = Plain()
    found.notes = open_trace(trace).notes
    found.open(out, **{"steps": 3, "samples": 2, "classes": (), "limit": 1 << 20} | options)
    return found


def test_state_is_kept_once(trace, tmp_path):
    with recorder(trace, tmp_path / "out") as found:
        for loss in (1.0, 1.0, float("nan")):
            found.step(loss=loss)
    steps = open_trace(tmp_path / "out").steps
    assert [list(step.get("before/w")) for step in steps] == [[0.0], [1.0], [1.0]]
    assert [list(step.get("after/w")) for step in steps[:2]] == [[1.0], [1.0]]
    assert np.isnan(steps[2].get("after/w")).all()
    assert [step.notes.loss for step in steps] == [1.0, 1.0, None]
    assert "after/w" not in steps[1]
    assert steps[0].get("none") is None


def test_layers_are_left_out_before_a_trace_becomes_too_large(trace, tmp_path, capsys):
    with recorder(trace, tmp_path / "out", limit=300) as found:
        found.step(loss=1.0)
    step = open_trace(tmp_path / "out").steps[0]
    assert "batch/labels" in step
    assert "out/a" not in step
    assert "limit=300" in capsys.readouterr().err


def test_a_trace_is_replaced_and_nothing_else_is(trace, tmp_path):
    recorder(trace, trace)
    assert list(trace.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(DataError, match="is there and is no trace: give another out"):
        recorder_of(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def recorder_of(out):
    Plain().open(out, 3, 2, (), 1 << 20)


def test_wrong_use(tmp_path, capsys):
    with pytest.raises(UsageError, match=r"cannot record a dict: give a torch.nn.Module or a keras.Model"):
        xfer.record({}, out=tmp_path / "x")
    with pytest.raises(UsageError, match="steps=0: give at least 1"):
        Plain().open(tmp_path / "x", 0, 2, (), 1)
    with pytest.raises(DataError, match=r"is no trace, for it has no trace\.json"):
        xfer.diff(tmp_path, tmp_path)


def test_damage_is_named(trace):
    document = (trace / DOCUMENT).read_text()
    for wrong, said in {
        document[: len(document) // 2]: "is damaged",
        document.replace('"format": 1', '"format": 99'): "upgrade xfer",
        document.replace('"roundoff"', '"rounding"'): "roundoff: Field required",
        json.dumps({**json.loads(document), "steps": []}): "has no step",
        json.dumps([]): "is damaged",
    }.items():
        (trace / DOCUMENT).write_text(wrong)
        with pytest.raises(DataError, match=said):
            open_trace(trace)
    (trace / DOCUMENT).write_text(document)
    for layer in ("conv", "pool", "batch_norm", "other", "nonsense"):  # of another kind than its configuration
        (trace / DOCUMENT).write_text(document.replace('"kind": "dense"', f'"kind": "{layer}"'))
        try:
            xfer.diff(trace, trace)
        except DataError as error:
            assert "do not fit" in str(error)  # noqa: PT017
    (trace / DOCUMENT).write_text(document)
    content = (trace / step_file(1)).read_bytes()
    (trace / step_file(1)).write_bytes(content[:-10])
    with pytest.raises(DataError, match=r"step-1.safetensors is damaged"):
        xfer.diff(trace, trace)
    (trace / step_file(1)).unlink()
    with pytest.raises(DataError, match=r"step-1.safetensors is missing"):
        xfer.diff(trace, trace)
