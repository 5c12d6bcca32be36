"""Habits of another framework change the same layers of every network in both frameworks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cross.test_logits import SMALLEST, smallest
from tests.suites import tiny_timm

pytestmark = pytest.mark.long
MODELS = sorted({*(name for name in SMALLEST if not name.startswith(("vit_tiny", "eva02_tiny"))), *tiny_timm.CARDS})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    found = {backend: tmp_path_factory.mktemp(backend) for backend in ("torch", "tensorflow")}
    models = [f"{model}:{smallest(model)}" for model in MODELS]
    worker = str(Path(__file__).with_name("habits.py"))
    for backend, out in found.items():
        subprocess.run([sys.executable, worker, backend, str(out), *models], check=True)
    return found


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("model", MODELS)
def test_both_frameworks_have_them_in_the_same_layers(folders, model, padding):
    ours, theirs = (np.load(folders[backend] / f"{model}-{padding}.npz") for backend in ("torch", "tensorflow"))
    assert list(ours) == list(theirs)
    for name in ours:
        largest = np.abs(ours[name]).max()
        assert largest > 0, name
        assert np.abs(ours[name] - theirs[name]).max() <= 1e-9 * largest, name
