"""Runs and weights as they lie on a hub."""

import pytest
from safetensors.numpy import save


@pytest.fixture
def run(model, tmp_path):
    """The files of a run, by name."""
    model.save(tmp_path / "run")
    return {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.name != ".lock"}


@pytest.fixture
def plain(model):
    """Weights as anyone publishes them."""
    return {"model.safetensors": save(model.weights()), "README.md": b"weights"}
