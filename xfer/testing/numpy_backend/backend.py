"""The NumPy backend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xfer.errors import BackendError
from xfer.models.backend import Backend
from xfer.models.base_model import BaseModel
from xfer.models.spec import ModelSpec
from xfer.specs.update import UpdateSpec
from xfer.testing.numpy_backend.model import NumpyModel
from xfer.testing.numpy_backend.stepper import NumpyStepper


class NumpyBackend(Backend):
    """The tiny network on the CPU, in float32 or float64."""

    name = "numpy"
    families = ("tiny",)

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}

    def devices(self) -> Sequence[str]:
        return ["cpu"]

    def build_network(self, spec: ModelSpec) -> NumpyModel:
        if spec.precision == "bf16":
            raise BackendError("backend 'numpy' has no bf16: give precision='fp32' or 'fp64'")
        return NumpyModel(self, spec)

    def stepper(self, model: BaseModel, update: UpdateSpec) -> NumpyStepper:
        assert isinstance(model, NumpyModel)
        return NumpyStepper(model, update)
