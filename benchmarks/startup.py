"""Seconds from a cold process to something useful: the import, the help, a first prediction, a first training step.

    python benchmarks/startup.py [--model resnet50] [--rounds 7] [--json out.json] [--md out.md]

Every measurement is a new process, from its start to its end. For the prediction and the step the same thing is written
by hand in the framework, so that the ratio is what xfer adds; the weights are drawn, not read.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from harness import interleave, ratio, write

OURS = """
import numpy as np, xfer
from xfer.specs.loss import LossSpec
from xfer.specs.update import UpdateSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.rates import block_rates
model = xfer.load("{model}", backend="{backend}", weights=None, classes=10, precision="fp32")
images = np.zeros((1, 224, 224, 3), np.uint8)
"""
OUR_PREDICTION = OURS + "model.predict(images)"
OUR_STEP = (
    OURS
    + "stepper = model.backend.stepper(model, UpdateSpec(OptimizerSpec(), LossSpec()))\n"
    + "float(stepper.step(images.repeat(2, 0), np.array([0, 1]), block_rates(1e-3, model.blocks)))"
)
TORCH = """
import torch, torchvision
model = torchvision.models.get_model("{model}", num_classes=10)
"""
TORCH_PREDICTION = TORCH + "with torch.inference_mode(): model.eval()(torch.zeros(1, 3, 224, 224)).softmax(1).numpy()"
TORCH_STEP = (
    TORCH
    + "rule = torch.optim.AdamW(model.parameters())\n"
    + "torch.nn.functional.cross_entropy(model(torch.zeros(2, 3, 224, 224)), torch.tensor([0, 1])).backward()\n"
    + "rule.step()"
)
KERAS = """
import keras, numpy as np
model = keras.applications.{keras}(weights=None, classes=10)
"""
KERAS_PREDICTION = KERAS + "model.predict(np.zeros((1, 224, 224, 3), 'f'), verbose=0)"
KERAS_STEP = (
    KERAS
    + "model.compile(keras.optimizers.AdamW(), 'sparse_categorical_crossentropy')\n"
    + "model.train_on_batch(np.zeros((2, 224, 224, 3), 'f'), np.array([0, 1]))"
)
KERAS_NAMES = {"resnet50": "ResNet50", "resnet101": "ResNet101", "mobilenet_v2": "MobileNetV2", "vgg16": "VGG16"}


def process(*command: str) -> float:
    """Seconds of a process that must succeed."""
    with tempfile.TemporaryDirectory() as features:
        environment = {**os.environ, "XFER_FEATURES": features, "TF_CPP_MIN_LOG_LEVEL": "3"}
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, env=environment)
        return time.perf_counter() - started


def contenders(model: str) -> dict[str, Callable[[], float]]:
    """What is measured, ours before theirs."""
    texts = {
        "torch, first prediction, xfer": OUR_PREDICTION.format(model=model, backend="torch"),
        "torch, first prediction, by hand": TORCH_PREDICTION.format(model=model),
        "torch, first step, xfer": OUR_STEP.format(model=model, backend="torch"),
        "torch, first step, by hand": TORCH_STEP.format(model=model),
        "tensorflow, first prediction, xfer": OUR_PREDICTION.format(model=model, backend="tensorflow"),
        "tensorflow, first step, xfer": OUR_STEP.format(model=model, backend="tensorflow"),
    }
    if model in KERAS_NAMES:
        texts["tensorflow, first prediction, by hand"] = KERAS_PREDICTION.format(keras=KERAS_NAMES[model])
        texts["tensorflow, first step, by hand"] = KERAS_STEP.format(keras=KERAS_NAMES[model])
    bare = {"python": ("-c", "pass"), "import xfer": ("-c", "import xfer"), "xfer --help": ("-m", "xfer", "--help")}
    commands = bare | {name: ("-c", text) for name, text in texts.items()}
    return {name: partial(process, *command) for name, command in commands.items()}


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    given = parser.parse_args()
    found = interleave(contenders(given.model), given.rounds)
    rows = []
    for name, seconds in found.items():
        theirs = found.get(name.replace(", xfer", ", by hand"), seconds)
        rows.append(
            {
                "process": name,
                "seconds": median(seconds),
                "without python's own start": median(seconds) - median(found["python"]),
                "xfer / by hand": "" if theirs is seconds else ratio(seconds, theirs),
            }
        )
    print(write(f"Start-up, {given.model}", rows, given.json, given.md, seconds=found))


if __name__ == "__main__":
    main()
