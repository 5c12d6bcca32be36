"""One backend in a process of its own: executes requests, and returns arrays in files.

usage: python -P -m xfer.certify.worker BACKEND FOLDER SETTINGS

One JSON request a line on stdin, one answer a line on stdout.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from safetensors.numpy import save_file

from xfer.certify.scenario import Scenario
from xfer.errors import XferError
from xfer.models.backend import get_backend
from xfer.models.base_model import BaseModel
from xfer.models.factory import load
from xfer.models.moving_average import MovingAverage
from xfer.models.network import STATISTICS
from xfer.models.stepper import Stepper
from xfer.specs.rates import decayed_rates
from xfer.specs.update import UpdateSpec

Arrays = Mapping[str, np.ndarray]
_UNSEEN = 10_000  # number of the batch that no run trains on


class Worker:
    """The run under way on one backend."""

    model: BaseModel
    stepper: Stepper
    average: MovingAverage | None
    scenario: Scenario
    start: dict[str, np.ndarray]

    def __init__(self, backend: str, classes: int, batch: int, seed: int) -> None:
        self.backend, self.classes, self.batch, self.seed = backend, classes, batch, seed

    def build(self, model: str, weights: str | None, precision: str, image_size: int) -> Arrays:
        """Make the model and give its weights, to be compared bit by bit before anything is computed."""
        options: dict[str, Any] = {
            "precision": precision,
            "image_size": image_size,
            "seed": self.seed,
            "dropout": False,
        }
        self.model = load(model, backend=self.backend, weights=weights, classes=self.classes, device="cpu", **options)
        if weights is None:
            self.model.set_weights(lively(self.model.weights(), self.seed))
        self.start = self.model.weights()
        return self.start

    def outputs(self) -> Arrays:
        """The normalised input and the output of every block."""
        images = self._images(0)
        return self.model.outputs(images, ["input"]) | self.model.block_outputs(images)

    def begin(self, scenario: dict[str, Any], steps: int) -> Arrays:
        """Back to the first weights, with this scenario's plan and optimizer; the gradients of the first step."""
        self.scenario, self.steps = TypeAdapter(Scenario).validate_python(scenario), steps
        if self.model.spec.lora is not None:
            self.model.merge_lora()
        self.model.set_weights(self.start)
        self._plan(self.scenario.unfrozen)
        weights = tuple(1.0 + k % 3 for k in range(self.classes)) if self.scenario.weighted else None
        loss = replace(self.scenario.loss, class_weights=weights)
        backend = get_backend(self.model.backend)
        update = UpdateSpec(self.scenario.optimizer, loss, self.scenario.clip_norm, self.scenario.l2_sp)
        self.stepper = backend.stepper(self.model, update)
        self.average = backend.moving_average(self.model, self.scenario.ema) if self.scenario.ema else None
        return self.stepper.gradients(*self._data(0))

    def step(self, number: int) -> Arrays:
        """One update; the loss, what may have changed as `weight/` and `statistic/`, and the slots."""
        if number == self.scenario.unfreeze_at:
            self._plan((self.scenario.unfrozen or 0) + 1)
        scenario, blocks = self.scenario, self.model.blocks
        factor = scenario.rate * scenario.schedule.factor(number, self.steps)
        rates = {block: factor / scenario.decay**depth for depth, block in enumerate(reversed(blocks))}
        if scenario.layer_decay is not None:
            rates = decayed_rates(factor, self.model.card.layer_depths, scenario.layer_decay)
        loss = float(self.stepper.step(*self._data(number), rates, seed=number))
        weights = {f"{_kind(name)}/{name}": array for name, array in self.model.live_weights().items()}
        return {"loss": np.array(loss), **weights, **self._averages(), **self.stepper.state()}

    def evaluate(self) -> Arrays:
        """Logits of images that were not trained on; and the proof that what is frozen has not changed."""
        self.model.freezer.verify()
        return {"logits": self.model.logits(self._images(_UNSEEN))}

    def _averages(self) -> Arrays:
        """The moving average after the step, of what is trained, or was."""
        if self.average is None:
            return {}
        self.average.update()
        self.average.hold(self.model.live_names())
        return {f"average/{name}": array for name, array in self.average.read().items()}

    def _plan(self, unfrozen: int | None) -> None:
        self.model.unfreeze()
        if self.scenario.lora is not None:
            self.model.add_lora(self.scenario.lora, alpha=2.0 * self.scenario.lora, seed=self.seed)
            return
        if unfrozen is not None:
            self.model.freeze()
            self.model.unfreeze(last=unfrozen)
        if not self.scenario.norm:
            self.model.freezer.freeze_norm()

    def _data(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch `number` of the stream: uint8 images and labels, -1 where one is missing."""
        rng = np.random.default_rng([self.seed, number, 1])
        labels = rng.integers(0, self.classes, self.batch)
        if self.scenario.missing:
            labels[rng.random(self.batch) < 0.3] = -1
        return self._images(number), labels

    def _images(self, number: int) -> np.ndarray:
        size = self.model.spec.preprocessing.size
        rng = np.random.default_rng([self.seed, number])
        return rng.integers(0, 256, (self.batch, size, size, 3)).astype(np.uint8)


def lively(weights: Arrays, seed: int) -> dict[str, np.ndarray]:
    """Weights whose normalisation is not the identity, so that every constant in it shows.

    Running variances are above one: else a deep net with random weights amplifies the last bit in inference mode.
    """
    result = {}
    for name, array in weights.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        if name.endswith(".running_var"):
            result[name] = array * rng.uniform(1.5, 4.0, array.shape).astype(array.dtype)
        else:
            spread = 0.2 if array.ndim == 1 else 0.0
            result[name] = array + spread * rng.standard_normal(array.shape).astype(array.dtype)
    return result


def _kind(name: str) -> str:
    return "statistic" if name.endswith(STATISTICS) else "weight"


def main(backend: str, folder: str, settings: str) -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr; stdout is for answers
    worker = Worker(backend, **json.loads(settings))
    for number, line in enumerate(sys.stdin):
        request = json.loads(line)
        path = Path(folder, f"{number}.safetensors")
        try:
            arrays = getattr(worker, request.pop("do"))(**request)
            save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, path)
            answer = {"file": str(path), "versions": worker.model.backend.versions()}
        except XferError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
