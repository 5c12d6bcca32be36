"""The Keras nets need Keras alone: on another engine of Keras they compute the same, and TensorFlow is never loaded."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import importlib, pkgutil, sys

sys.modules["tensorflow"] = None  # an import of it fails
import numpy as np
import torch
import keras
import xfer_keras_nets
from xfer_keras_nets.families import FAMILIES
from xfer_keras_nets.layout import forward_order, tensors
from xfer.zoo import card, cards

assert keras.backend.backend() == "jax"
for module in pkgutil.walk_packages(xfer_keras_nets.__path__, "xfer_keras_nets."):
    importlib.import_module(module.name)
assert {card.family for card in cards()} == set(FAMILIES)
from xfer_torch.nets.families import FAMILIES as TORCH
keras.config.set_dtype_policy("float32")
x = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype(np.float32)
for name in sys.argv[1:]:
    at = card(name).at(64)
    image = keras.Input((64, 64, 3), dtype="float32")
    ends = dict(FAMILIES[at.family](image, at))
    net = keras.Model(image, ends["features"])
    with torch.device("cpu"):
        native, stages = TORCH[at.family](at)
    native.eval()
    state = native.state_dict()
    for key, tensor in tensors(forward_order(ends["features"], image)).items():
        tensor.variable.assign(tensor.to_keras(state[key].numpy()))
    with torch.inference_mode():
        y = torch.from_numpy(x).permute(0, 3, 1, 2)
        for stage, module in stages.items():
            y = module(y)
            if stage == "features":
                break
    found = np.asarray(net(x, training=False))
    worst = np.abs(found - y.numpy()).max() / np.abs(y.numpy()).max()
    assert worst < 1e-5, (name, worst)
assert not [name for name in sys.modules if name.startswith("tensorflow.")]
print("same")
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "names", [["tiny"], ["resnet18", "vit_b_32", "swin_t", "vit_tiny_patch16_224", "convnextv2_atto"]]
)
def test_the_nets_run_on_another_engine_without_tensorflow(names):
    environment, command = os.environ | {"KERAS_BACKEND": "jax"}, [sys.executable, "-c", PROGRAM, *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "same", done.stderr[-2000:]
