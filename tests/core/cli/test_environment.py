"""Environments as people have them: each works, or says so in one line."""

import os
import subprocess
import sys

import pytest

TRAIN = """
import sys
import numpy as np
import xfer
from xfer.testing import NumpyBackend
{before}
x = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
data = xfer.data.arrays(x, np.arange(12) % 2, classes=["a", "b"])
model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16)
model.freeze()
xfer.Trainer(model, batch_size=4).fit(data, 2)
{after}
print("done", file=sys.__stdout__)
"""
PLOTS = """
found = xfer.evaluation_report(model, data, {folder!r})
"""


@pytest.mark.parametrize(
    ("before", "env"),
    [
        ("sys.stdout = sys.stderr = None", {}),
        pytest.param("", {"XDG_CACHE_HOME": "", "XFER_FEATURES": ""}, marks=pytest.mark.long),
        pytest.param("", {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, marks=pytest.mark.long),
        ("", {"MPLBACKEND": "tkagg", "DISPLAY": "", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}),
    ],
)
def test_a_fit_and_its_pictures(tmp_path, before, env):
    source = TRAIN.format(before=before, after=PLOTS.format(folder=str(tmp_path)))
    environment = os.environ | {"HOME": str(tmp_path)} | env
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout.endswith("done\n"), done.stderr
    assert (tmp_path / "confusion.png").is_file()


@pytest.mark.parametrize(("name", "line"), [("RANK", "RANK='x': expected"), ("TF_CONFIG", "TF_CONFIG is 'x'")])
def test_what_no_launcher_sets_is_one_line(name, line):
    command = [sys.executable, "-m", "xfer", "models"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {name: "x"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {line}")
    assert done.stderr.count("\n") == 1
