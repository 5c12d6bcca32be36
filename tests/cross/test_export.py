"""A run of one framework as a file of the other's; the same run as ONNX by both."""

import json
import re

import numpy as np
import pytest

import xfer
from tests.suites.command_line import document, xfer_command
from tests.suites.exporting import lively, onnx
from xfer.testing import NumpyBackend

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that no framework has trained."""
    options = {"weights": None, "classes": ["a", "b", "c"], "image_size": 16}
    model = lively(xfer.load("tiny", backend=NumpyBackend(), **options))
    return model.save(tmp_path_factory.mktemp("runs") / "run")


def test_of_torch_by_tensorflow(run, tmp_path):
    """The weights are portable: another process writes the file, and the model that it is compared with is torch's."""
    options = ("--to", "saved-model", "--backend", "torch", "--out", tmp_path / "x")
    found = document(xfer_command("export", run, *options, "--json"))
    assert found["check"]["greatest_difference"] < 1e-5
    assert found["check"]["equal_classes"] == found["check"]["images"] == 64
    assert (tmp_path / "x" / "saved_model.pb").is_file()
    about = json.loads((tmp_path / "x" / "model.json").read_text())
    assert about["files"]["x"]["check"] == found["check"]


def test_of_tensorflow_by_torch(run, tmp_path):
    """In words, on the command line."""
    options = ("--backend", "tensorflow", "--out", tmp_path / "x.pt2")
    found = xfer_command("export", run, "--to", "torch-export", *options)
    assert found.returncode == 0, found.stderr
    assert re.search(r"opened by +\S torch ", found.stdout)
    assert re.search(r"same class +\S 64 of 64 ", found.stdout)
    assert f"file: {tmp_path / 'x.pt2'}" in found.stdout


def test_onnx_of_both_is_the_same(run, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    found = {}
    for backend in ("torch", "tensorflow"):
        command = ("export", run, "--to", "onnx", "--backend", backend, "--out", tmp_path / f"{backend}.onnx")
        assert xfer_command(*command).returncode == 0
        found[backend] = onnx(tmp_path / f"{backend}.onnx")(image=images)["probabilities"]
    np.testing.assert_allclose(found["torch"], found["tensorflow"], atol=1e-5, rtol=0)
    assert (tmp_path / "torch.onnx").read_bytes() != (tmp_path / "tensorflow.onnx").read_bytes()
    assert set(json.loads((tmp_path / "model.json").read_text())["files"]) == {"torch.onnx", "tensorflow.onnx"}
