"""Checkpoints of other tools give equal features on both backends, without torch where the backend is TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cross.foreign import FILES

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
    for backend in ("torch", "tensorflow"):
        command = [sys.executable, "-m", "tests.cross.foreign", backend, str(folder)]
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths})
    return {backend: np.load(folder / f"{backend}.npz") for backend in ("torch", "tensorflow")}


@pytest.mark.parametrize("file", FILES)
def test_features_are_equal(features, file):
    ours, theirs = (features[backend][file].astype(np.float64) for backend in ("torch", "tensorflow"))
    assert ours.std() > 0
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(ours).max()
