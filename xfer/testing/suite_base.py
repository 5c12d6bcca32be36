"""What the tests of the suite share: models, images, and a comparison that names the worst tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

import xfer
from xfer.models.backend import Backend, get_backend
from xfer.models.base_model import BaseModel
from xfer.models.stepper import Stepper
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.rates import Rates, block_rates
from xfer.specs.update import UpdateSpec
from xfer.testing.numpy_backend import NumpyBackend

SIZE = 16
CLASSES = ("ant", "bee", "cat")


def images(number: int, seed: int = 0) -> np.ndarray:
    """uint8 (number, SIZE, SIZE, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (number, SIZE, SIZE, 3)).astype(np.uint8)


def labels(number: int) -> np.ndarray:
    """int64 (number,), all classes in turn."""
    return np.arange(number) % len(CLASSES)


def assert_close(ours: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], bound: float, what: str) -> None:
    """Every tensor is within `bound` of the reference, relative to the reference's largest element."""
    assert set(ours) == set(reference), f"{what}: the names differ: {sorted(set(ours) ^ set(reference))}"
    for name, expected in reference.items():
        found = np.asarray(ours[name], np.float64)
        assert found.shape == expected.shape, f"{what}: {name} has shape {found.shape}, expected {expected.shape}"
        worst = float(np.abs(found - expected).max(initial=0)) / max(float(np.abs(expected).max(initial=0)), 1e-30)
        assert worst <= bound, f"{what}: {name} differs by {worst:.1e} relative, allowed are {bound:.0e}"


class Suite:
    """Set `backend` in a subclass."""

    backend: str | Backend
    collected: ClassVar[bool] = False  # whether the framework's own networks need Python's collector to be freed

    def model(self, precision: str = "fp32", **options: Any) -> BaseModel:
        """The tiny network with seeded weights on the backend under test."""
        settings: dict[str, Any] = {"weights": None, "classes": CLASSES, "image_size": SIZE, "precision": precision}
        return xfer.load("tiny", backend=self.backend, **(settings | options))

    def pair(self, **options: Any) -> tuple[BaseModel, BaseModel]:
        """The network under test and the NumPy reference in float64, with the same lively weights and statistics."""
        ours = self.model("fp64", **options)
        settings = {"weights": None, "classes": CLASSES, "image_size": SIZE, "precision": "fp64"} | options
        reference = xfer.load("tiny", backend=NumpyBackend(), **settings)
        rng = np.random.default_rng(7)
        weights = {name: a + 0.1 * rng.random(a.shape) for name, a in reference.weights().items()}
        ours.set_weights(weights)
        reference.set_weights(weights)
        return ours, reference

    def stepper(
        self,
        model: BaseModel,
        optimizer: OptimizerSpec | None = None,
        loss: LossSpec | None = None,
        clip_norm: float | None = None,
        l2_sp: float | None = None,
    ) -> Stepper:
        """A stepper of the model's own backend; plain SGD if nothing is said."""
        spec = UpdateSpec(optimizer or OptimizerSpec("sgd", momentum=0.0), loss or LossSpec(), clip_norm, l2_sp)
        return get_backend(model.backend).stepper(model, spec)

    def train(self, model: BaseModel, steps: int = 3, rates: Rates = 0.1, **options: Any) -> Stepper:
        """A few updates on seeded images."""
        stepper = self.stepper(model, **options)
        self.go_on(stepper, range(steps), rates)
        return stepper

    def go_on(self, stepper: Stepper, steps: range, rates: Rates = 0.1) -> list[float]:
        """Updates number `steps`, each on images of its own; their losses."""
        by_block = block_rates(rates, stepper.model.blocks)
        return [float(stepper.step(images(6, seed=i), labels(6), by_block, seed=i)) for i in steps]

    @property
    def engine(self) -> Backend:
        """The backend under test."""
        return get_backend(self.backend)
