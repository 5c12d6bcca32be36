"""The certificate: passes where backends are the same, fails and points where a constant is wrong."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest

import xfer
from tests.suites.command_line import xfer_command
from xfer.certify.certificate import Stage, Trial, compare
from xfer.certify.scenario import SCENARIOS
from xfer.errors import UnknownNameError, UsageError, XferError
from xfer.report.certificate import write

RIGHT = "xfer.testing:NumpyBackend"


def certify(fault, **options):
    backends = (RIGHT, f"tests.cross.faulty:{fault}")
    settings = {"precisions": ("fp64",), "steps": 4, "image_size": 16, "batch_size": 4}
    return xfer.parity("tiny", backends=backends, **(settings | options))


@pytest.fixture(scope="module", autouse=True)
def _importable():
    """The workers find tests.cross.faulty as this process does."""
    import os
    from pathlib import Path

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), before)))
    yield
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.mark.parametrize(
    ("fault", "stage", "scenario"),
    [
        ("WrongMean", "preprocessing", "sgd, all trainable"),
        ("WrongEps", "block stem", "sgd, all trainable"),
        ("WrongPadding", "block layer1", "sgd, all trainable"),
        ("WrongMomentum", "step 1: statistics", "sgd, all trainable"),
        ("BiasedVariance", "step 1: statistics", "sgd, all trainable"),
        ("RateInVelocity", "step 1: slots", "sgd, all trainable"),
        ("EpsilonInside", "step 1: weights", "adam, coupled decay"),
        ("NoBiasCorrection", "step 1: weights", "adam, coupled decay"),
        ("CoupledDecay", "step 1: weights", "adamw, rates by block, one-cycle"),
    ],
)
def test_a_wrong_constant_is_caught_where_it_is(fault, stage, scenario):
    certificate = certify(fault)
    assert not certificate.passed
    trial = next(trial for trial in certificate.trials if not trial.passed)
    assert (trial.scenario, trial.first_failure.name) == (scenario, stage)
    assert trial.first_failure.error > 1e-9


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("tensorflow", "jax")]


@pytest.mark.parametrize("backend", ["torch", *LONG])
def test_the_reference_and_a_framework_are_the_same(backend, tmp_path):
    certificate = xfer.parity("tiny", backends=(RIGHT, backend), steps=20, image_size=16, batch_size=4)
    assert certificate.passed, certificate.table()
    assert len(certificate.trials) == sum(s.lora is None for s in SCENARIOS) + 1
    exact = [trial for trial in certificate.trials if trial.precision == "fp64"]
    assert all(len(trial.stages) >= 2 + 20 * 3 for trial in exact)
    assert max(stage.error for trial in exact for stage in trial.stages) > 0, "two implementations never round alike"
    write(certificate, tmp_path)
    document = json.loads((tmp_path / "parity.json").read_text())
    assert document["passed"] is True
    assert document["trials"][0]["stages"][1]["name"] == "preprocessing"
    page = (tmp_path / "parity.html").read_text()
    HTMLParser().feed(page)
    assert page.count("<svg") == len(certificate.trials)
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("other", ["torch", pytest.param("tensorflow", marks=pytest.mark.long)])
def test_jax_and_another_framework_are_the_same(other, monkeypatch):
    """Each process has the engine of Keras that its backend needs, whatever this one has."""
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    options = {"precisions": ("fp64",), "scenarios": SCENARIOS[:1], "image_size": 16, "batch_size": 4}
    certificate = xfer.parity("tiny", backends=(other, "jax"), steps=3, **options)
    assert certificate.passed, certificate.table()
    assert max(stage.error for trial in certificate.trials for stage in trial.stages) > 0


@pytest.mark.long
@pytest.mark.parametrize("other", ["torch", "tensorflow"])
def test_jax_and_another_framework_make_the_same_run(other):
    options = {"steps": 6, "image_size": 40, "precisions": ("fp64",)}  # the last scenarios unfreeze before the sixth
    certificate = xfer.parity("resnet18", backends=(other, "jax"), **options)
    assert certificate.passed, [str(trial.first_failure) for trial in certificate.trials]
    assert len(certificate.trials) == sum(s.lora is None for s in SCENARIOS)


@pytest.mark.long
@pytest.mark.parametrize("model", ["resnet18", "efficientnet_lite0"])
def test_torch_and_tensorflow_make_the_same_run(model):
    certificate = xfer.parity(model, steps=20)
    assert certificate.passed, [str(trial.first_failure) for trial in certificate.trials]


@pytest.mark.parametrize("model", ["tiny", pytest.param("resnet18", marks=pytest.mark.long)])
def test_torch_and_tensorflow_make_the_same_short_run(model):
    certificate = xfer.parity(model, steps=2, image_size=32, batch_size=4, scenarios=SCENARIOS[:1])
    assert certificate.passed, [str(trial.first_failure) for trial in certificate.trials]


def test_errors_of_tensors():
    ours = {"a": np.array([1.0, -4.0]), "b": np.array([1e-12])}
    assert compare("x", ours, ours, 0.0) == Stage("x", 0.0, "", 0.0, 2)
    stage = compare("x", ours, {**ours, "a": np.array([1.0, -4.002])}, 1e-3)
    assert (stage.error, stage.worst, stage.passed) == (pytest.approx(0.0005), "a", True)
    stage = compare("x", ours, {**ours, "b": np.array([3e-12])}, 1e-9)
    assert stage.error == pytest.approx(2e-12 / 4e-5), "nothing but rounding is measured by what else there is"
    assert not compare("x", ours, {**ours, "a": np.array([1.0, np.nan])}, 1e-3).passed
    assert compare("x", ours, {"a": ours["a"]}, 1e-3).worst == "b"
    assert Trial("t", "fp64", (stage, Stage("y", 1.0, "w", None, 1))).passed is False


def test_command_line(tmp_path):
    options = ("--backends", f"{RIGHT},torch", "--steps", "2", "--image-size", "16", "--batch-size", "4", "--json")
    result = xfer_command("parity", "tiny", *options, "--optimizer", "adam", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert [trial["scenario"] for trial in document["trials"] if trial["precision"] == "fp64"] == [
        s.name for s in SCENARIOS if s.optimizer.name == "adam"
    ]
    assert json.loads((tmp_path / "parity.json").read_text()) == document
    faulty = (f"{RIGHT},tests.cross.faulty:WrongEps", "--precision", "fp64", "--steps", "1")
    result = xfer_command("parity", "tiny", "--backends", *faulty)
    assert result.returncode == 1
    assert "NOT the same" in result.stdout


def test_refusals():
    with pytest.raises(UsageError, match="parity compares two"):
        xfer.parity("tiny", backends=("torch",))
    with pytest.raises(UnknownNameError, match="did you mean 'adam"):
        xfer.parity("tiny", backends=(RIGHT, RIGHT), optimizer="adm")
    with pytest.raises(UnknownNameError, match="unknown precision 'fp16'"):
        xfer.parity("tiny", backends=(RIGHT, RIGHT), precisions=("fp16",))
    with pytest.raises(XferError, match="has no resnet18"):
        xfer.parity("resnet18", backends=(RIGHT, RIGHT))
