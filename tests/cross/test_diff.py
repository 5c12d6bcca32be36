"""Faults planted into plain PyTorch and plain Keras scripts are found, each with its stage and its cause.

One process makes all traces of PyTorch, another all of Keras. In each pair `a` is PyTorch, as it should be, and `b` is
the port with the fault, unless its options say otherwise.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import xfer
from xfer.traces.findings import CAUSES
from xfer.traces.trace import open_trace

# Name: options of a (PyTorch), options of b (Keras), what is to be found.
LIVE = {"live": True}
FAULTS = {
    "bgr": ({}, {"bgr": True}, {"channel-order"}),
    "unit": ({}, {"scale": "unit"}, {"normalisation"}),
    "nearest": ({}, {"nearest": True}, {"resize"}),
    "class-order": ({}, {"classes": True}, {"class-order"}),
    "same": ({}, {"same": True}, {"padding"}),
    "eps": ({}, {"eps": 1e-3}, {"norm-eps"}),
    "momentum": (LIVE, LIVE | {"momentum": 0.01}, {"norm-momentum", "norm-variance"}),
    "variance": (LIVE, LIVE, {"norm-variance"}),
    "live": ({"forgotten": True}, {}, {"norm-mode"}),
    "frozen norms": ({}, LIVE, {"norm-mode", "frozen"}),
    "dropout": ({}, {"dropout": 0.5}, {"dropout"}),
    "gelu": ({}, {"gelu_tanh": True}, {"activation"}),
    "logits": ({}, {"probabilities": True}, {"from-logits"}),
    "sum": ({}, {"reduction": "sum"}, {"reduction"}),
    "smoothing": ({"smoothing": 0.1}, {}, {"label-smoothing"}),
    "frozen": ({}, {"frozen": True}, {"frozen"}),
    "adam": ({"adam": True}, {"adam": True, "mode": "fit"}, {"optimizer-eps"}),
    "adam-form": ({"adam": True}, {"adam": True, "adam_eps": 1e-8}, {"optimizer-eps"}),
    "decay": ({"decay": 0.01}, {"decay": 0.01, "mode": "fit"}, {"weight-decay"}),
    "nesterov": ({}, {"nesterov": True}, {"nesterov"}),
    "schedule": ({"schedule": True}, {}, {"schedule", "momentum-convention"}),
    "clipping": ({"clip": 0.1}, {"clip_variable": 0.1}, {"clipping"}),
    "flatten": ({}, {"flatten": True}, {"flatten-order"}),
}
MORE = {
    "bgr and unit": ({}, {"bgr": True, "scale": "unit"}, {"channel-order", "normalisation"}),
    "dropout and schedule": ({"schedule": True}, {"dropout": 0.5}, {"dropout", "schedule", "momentum-convention"}),
    "bytes": ({"scale": "unit"}, {"scale": "bytes"}, {"value-range"}),
    "signed": ({"scale": "unit"}, {"scale": "signed"}, {"value-range"}),
    "crop": ({"crop": 2}, {"crop": 0}, {"crop"}),
    "zoom": ({}, {"crop": 2}, {"resize"}),
    "mirror": ({}, {"mirror": True}, {"flip"}),
    "shuffled": ({}, {"shuffled": True}, {"sample-order"}),
    "pooling": ({}, {"average": True}, {"pooling"}),
    "rate": ({}, {"lr": 0.1}, {"learning-rate"}),
    "optimizer": ({}, {"adam": True}, {"optimizer", "learning-rate"}),
    "penalty": ({"penalty": 1e-3}, {}, {"penalty"}),
    "weights": ({"weights": [1, 2, 0.5, 1]}, {"weights": [1, 2, 0.5, 1], "mode": "fit"}, {"class-weights"}),
    "no weights": ({"weights": [1, 2, 0.5, 1]}, {}, {"class-weights"}),
    "convention": ({"schedule": True}, {"schedule": True}, {"momentum-convention"}),
    "AdamW": ({"adamw": True, "decay": 0.1}, {"adamw": True, "decay": 0.1, "mode": "fit"}, {"optimizer-eps"}),
    "AdamW in float64": (
        {"adamw": True, "decay": 0.1, "float64": True, "relu": True},
        {"adamw": True, "decay": 0.1, "float64": True, "relu": True},
        {"optimizer-eps"},
    ),
    "twice": ({"softmax": True}, {"softmax": True}, {"from-logits"}),
    "factor": ({"factor": 3.0}, {}, {"gradient-scale"}),
    "accumulating": ({"accumulating": True}, {}, {"accumulation"}),
    "detached": ({"detached": True}, {}, {"frozen"}),
    "raw": ({"raw": True}, {"raw": True, "nearest": True}, {"resize"}),
}
PAIRS = {
    "bgr and eps": ({}, {"bgr": True, "eps": 1e-3}, {"channel-order", "norm-eps"}),
    "nearest and logits": ({}, {"nearest": True, "probabilities": True}, {"resize", "from-logits"}),
    "classes and decay": ({"decay": 0.01}, {"decay": 0.01, "classes": True}, {"class-order", "weight-decay"}),
    "same and frozen": ({}, {"same": True, "frozen": True}, {"padding", "frozen"}),
    "gelu and smoothing": ({"smoothing": 0.1}, {"gelu_tanh": True}, {"activation", "label-smoothing"}),
}
# In float64 TensorFlow rounds some constants to float32 at first: 0.9, and the root of 2 in its gelu.
EXACT = {"float64": True, "relu": True, "mu": 0.875, "lr": 0.0625}
SAME = {
    "same32": ({"plain": True}, {"plain": True, "mode": "fit"}),
    "same32 by XLA": ({"dropout": 0.5}, {"plain": True, "mode": "xla", "dropout": 0.5}),
    "same32 in a graph": ({"dropout": 0.5, "plain": True}, {"plain": True, "mode": "graph", "dropout": 0.5}),
    "same32 by a callback": ({}, {"plain": True, "mode": "callback"}),
    "same32 by hand": ({}, {"plain": True}),
    "same32 in a function": ({}, {"plain": True, "mode": "function"}),
    "same64": (EXACT, EXACT),
    "same with clipping": ({"clip": 0.1}, {"clip": 0.1}),
}
MORE_SAME = {
    "same with a softmax": ({}, {"softmax": True}),
    "same with smoothing": ({"smoothing": 0.1}, {"smoothing": 0.1, "mode": "fit"}),
    "same with nesterov": ({"nesterov": True}, {"nesterov": True, "mode": "fit"}),
    "same but for TensorFlow's gelu": ({"float64": True}, {"float64": True}),
}
KNOWN = {"same but for TensorFlow's gelu": {"forward"}}


def made(folder, every):
    """The traces of some runs, by both scripts, at the same time."""
    running = []
    for i, framework in enumerate(("torch", "keras")):
        runs = folder / f"{framework}.json"
        runs.write_text(json.dumps({name: both[i] for name, both in every.items()}))
        script = str(Path(__file__).with_name(f"diff_{framework}.py"))
        (folder / framework).mkdir()
        running.append(subprocess.Popen([sys.executable, script, str(runs), str(folder / framework)]))
    assert [process.wait() for process in running] == [0, 0]
    return folder


@pytest.fixture(scope="session")
def traces(tmp_path_factory):
    return made(tmp_path_factory.mktemp("traces"), FAULTS | PAIRS | SAME)


@pytest.fixture(scope="session")
def more(tmp_path_factory):
    return made(tmp_path_factory.mktemp("more"), MORE | MORE_SAME)


def check(folder, name, expected):
    """Everything that was planted is found, and nothing else."""
    result = xfer.diff(folder / "torch" / name, folder / "keras" / name)
    assert {(each.stage, each.cause) for each in result.findings} == {(CAUSES[cause][0], cause) for cause in expected}
    for each in result.findings:
        assert each.difference > 0
        assert each.evidence
        assert each.remedy
        assert each.where


@pytest.mark.parametrize("name", {**FAULTS, **PAIRS})
def test_planted_faults_are_found_and_nothing_else_is(traces, name):
    check(traces, name, (FAULTS | PAIRS)[name][2])


@pytest.mark.long
@pytest.mark.parametrize("name", MORE)
def test_more_faults_are_found_and_nothing_else_is(more, name):
    check(more, name, MORE[name][2])


def check_same(folder, name, runs):
    """Nothing is found, and what was compared agrees."""
    result = xfer.diff(folder / "torch" / name, folder / "keras" / name)
    assert {each.cause for each in result.findings} == KNOWN.get(name, set())
    assert result.difference < (1e-9 if "64" in name else 1e-4)
    assert result.difference > 0 or runs[0].get("dropout")
    assert result.unpaired["b"] == []
    assert result.unpaired["a"] in ([], ["dropout"])


@pytest.mark.parametrize("name", SAME)
def test_equal_runs_are_the_same(traces, name):
    check_same(traces, name, SAME[name])


@pytest.mark.long
@pytest.mark.parametrize("name", MORE_SAME)
def test_more_equal_runs_are_the_same(more, name):
    check_same(more, name, MORE_SAME[name])


def test_recording_changes_no_loss_and_no_weight(traces):
    plain = [(i, name) for name, runs in SAME.items() for i in (0, 1) if runs[i].get("plain")]
    assert len(plain) == 8
    for i, name in plain:
        assert (traces / ("torch", "keras")[i] / name / "same.txt").read_text() == "True", name


@pytest.mark.long
def test_three_steps_of_resnet50_take_less_than_2_gb_and_lose_nothing(tmp_path):
    """At 224 pixels, batch 16, in both frameworks, with the outputs of layers."""
    script = Path(__file__).parents[2] / "benchmarks" / "recording.py"
    command = [sys.executable, str(script), "--out", str(tmp_path), "--json", str(tmp_path / "found.json")]
    subprocess.run(command, check=True)
    found = json.loads((tmp_path / "found.json").read_text())["details"]
    for framework in ("torch", "keras"):
        assert found[framework]["same"]
        assert found[framework]["bytes"] < 2e9
        assert any(name.startswith("out/") for name in open_trace(tmp_path / framework).steps[0].names)
