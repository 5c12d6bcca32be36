"""What docs/differences.md says about mending each difference makes Keras compute what PyTorch does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Largest relative difference; Keras rounds constants such as 0.9 to float32 first, and its epsilons have another place.
BOUNDS = {
    **dict.fromkeys(["load_img", "decoding", "average pooling", "SGD, falling rate"], 0.0),
    **dict.fromkeys(
        ["padding", "batch normalisation", "running mean", "running variance", "layer normalisation"], 1e-14
    ),
    **dict.fromkeys(["GELU", "flatten order", "class weights"], 1e-14),
    **dict.fromkeys(["normalisation", "leaky ReLU", "Adagrad", "clipping"], 1e-6),
    **dict.fromkeys(["Adam", "AdamW", "coupled decay", "RMSprop"], 1e-4),
    "initial weights": 0.01,  # standard deviation and largest of 200,000 drawn weights
    "resize, levels": 1.0,  # of 255: Pillow rounds to whole levels
}


@pytest.fixture(scope="module")
def apart():
    done = subprocess.run([sys.executable, Path(__file__).with_name("mended.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
@pytest.mark.parametrize("name", BOUNDS)
def test_mended_keras_computes_what_pytorch_does(apart, name):
    assert apart[name] <= BOUNDS[name]
