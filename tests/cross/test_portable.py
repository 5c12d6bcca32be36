"""A run moves between frameworks: trained on one, judged and served by the other."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.suites.command_line import SMALL, document, xfer_command
from tests.suites.hub import environment, serve

OTHER = {"torch": "tensorflow", "tensorflow": "torch"}


@pytest.fixture(scope="module", params=["torch", "tensorflow"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("portable") / request.param
    options = ("--hidden", "16", "--dropout", "0.1", "--fine-tune", "1")
    result = xfer_command("train", "digits", *SMALL, *options, "--backend", request.param, "--out", folder)
    assert result.returncode == 0, result.stderr
    return folder


def probabilities(path: Path) -> np.ndarray:
    return np.genfromtxt(path, delimiter=",", skip_header=1)[:, 3:]


def test_the_other_framework_gives_the_same_figures(run, tmp_path):
    metrics = json.loads((run / "metrics.json").read_text())
    (tmp_path / "same.toml").write_text('data = "digits"\nlimit = 60\n')
    command = ("evaluate", run, "--config", tmp_path / "same.toml", "--backend", OTHER[run.name], "--json")
    found = document(xfer_command(*command))
    assert found["backend"] == OTHER[run.name]
    assert found["accuracy"] == metrics["val"]["accuracy"]
    assert found["loss"] == pytest.approx(metrics["val"]["loss"], rel=1e-5)


def test_the_other_framework_gives_the_same_probabilities(run, tmp_path):
    code = (
        "import sys, numpy as np, xfer\n"
        "data = xfer.data.digits()\n"
        "model = xfer.load(sys.argv[1], backend=sys.argv[2])\n"
        "np.save(sys.argv[3], model.predict_proba(data.val.limit(60, 0)))"
    )
    out = tmp_path / "p.npy"
    subprocess.run([sys.executable, "-c", code, run, OTHER[run.name], out], check=True)
    np.testing.assert_allclose(np.load(out), probabilities(run / "predictions.csv"), rtol=1e-5, atol=1e-7)


@pytest.mark.long
def test_pushed_by_one_framework_and_loaded_from_the_hub_by_the_other(run, tmp_path):
    with serve() as hub:
        env = environment(hub, tmp_path / "huggingface")
        pushed = document(xfer_command("push", run, "me/digits", "--private", "--license", "mit", "--json", env=env))
        code = (
            "import sys, numpy as np, xfer\n"
            "model = xfer.load(sys.argv[1], backend=sys.argv[2])\n"
            "np.save(sys.argv[3], model.predict_proba(xfer.data.digits().val.limit(60, 0)))"
        )
        out = tmp_path / "p.npy"
        subprocess.run([sys.executable, "-c", code, pushed["address"], OTHER[run.name], out], check=True, env=env)
    np.testing.assert_allclose(np.load(out), probabilities(run / "predictions.csv"), rtol=1e-5, atol=1e-7)


@pytest.mark.long  # the certificate shows more of a shorter run
def test_the_same_run_on_both_has_the_same_first_losses(tmp_path):
    """Weights, pixels, order, augmentation and update rule are one: in float64 to 1e-9, over two epochs."""
    losses = {}
    for backend in OTHER:
        options = ("--precision", "fp64", "--augment", "light,rotate=10", "--optimizer", "adamw", "--clip-norm", "1")
        command = ("train", "digits", *SMALL, *options, "--fine-tune", "2", "--backend", backend, "--json")
        metrics = document(xfer_command(*command, "--out", tmp_path / backend))
        losses[backend] = [(row["loss"], row["val_loss"]) for row in metrics["epochs"]]
    np.testing.assert_allclose(losses["torch"], losses["tensorflow"], rtol=1e-9)


@pytest.mark.long
def test_both_in_one_process():
    """torch first works; TensorFlow first would end the process, and is refused in one line."""
    code = (
        "import sys, xfer\n"
        "try:\n"
        "    for name in sys.argv[1:]:\n"
        "        model = xfer.load('tiny', backend=name, weights=None, classes=10)\n"
        "        xfer.Trainer(model, progress=False).fit(xfer.data.digits(), 1)\n"
        "        print('trained', name)\n"
        "except xfer.XferError as error:\n"
        "    print(error)"
    )
    said = {}
    for order in (("torch", "tensorflow"), ("tensorflow", "torch")):
        result = subprocess.run([sys.executable, "-c", code, *order], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        said[order] = result.stdout.splitlines()
    assert said["torch", "tensorflow"] == ["trained torch", "trained tensorflow"]
    assert said["tensorflow", "torch"][0] == "trained tensorflow"
    assert "import torch before it" in said["tensorflow", "torch"][1]
