"""A run of adapters that was begun on one framework goes on on the other, from a checkpoint without the backbone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xfer.checkpoints.checkpoint import open_checkpoint

WORKER = str(Path(__file__).with_name("adapters.py"))


@pytest.mark.long
@pytest.mark.parametrize("first", ["torch", "tensorflow"])
def test_a_run_goes_on_on_the_other_framework(first, tmp_path):
    found, weights = {}, tmp_path / "backbone.safetensors"
    for backend in sorted(("torch", "tensorflow"), key=lambda name: name != first):
        out = tmp_path / f"{backend}.npz"
        subprocess.run([sys.executable, WORKER, backend, str(tmp_path), str(weights), str(out)], check=True)
        found[backend] = np.load(out)
    run = open_checkpoint(tmp_path / "run")
    assert run.manifest.backend == first
    assert run.manifest.backbone.weights == str(weights)
    assert "blocks.0.attn.qkv.weight" not in run.weights()
    ours, theirs = found["torch"], found["tensorflow"]
    assert sorted(ours) == sorted(theirs)
    for name in ours:
        assert np.abs(ours[name] - theirs[name]).max() <= 1e-9 * max(float(np.abs(ours[name]).max()), 1e-3), name
