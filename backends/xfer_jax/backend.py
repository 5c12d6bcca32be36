"""The JAX backend."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import keras
import numpy as np

from xfer.features.gan import GanSpec
from xfer.models.backend import Backend
from xfer.models.base_model import BaseModel
from xfer.models.spec import Description, ModelSpec
from xfer.runtime.distributed import SINGLE_PROCESS, DistributedContext, launch_environment
from xfer.specs.update import UpdateSpec
from xfer_jax.average import JaxAverage
from xfer_jax.distributed import joined
from xfer_jax.gan import JaxGan
from xfer_jax.model import JaxModel
from xfer_jax.modes import device_of, gpus, modes
from xfer_jax.stepper import JaxStepper
from xfer_jax.wrapped import WrappedModel
from xfer_keras_nets.engine import check_engine
from xfer_keras_nets.families import FAMILIES
from xfer_keras_nets.layers import unsynchronised
from xfer_keras_nets.wrapped import describe


class JaxBackend(Backend):
    """Keras 3 on JAX."""

    name = "jax"
    families = FAMILIES

    def __init__(self) -> None:
        check_engine("jax")

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__, "keras": keras.__version__}

    def devices(self) -> Sequence[str]:
        return [*(f"cuda:{i}" for i, _ in enumerate(gpus())), "cpu"]

    def build_network(self, spec: ModelSpec) -> JaxModel:
        return JaxModel(self, spec)

    def deterministically(self, spec: ModelSpec) -> AbstractContextManager[object]:
        return modes(spec.device, spec.precision == "fp64")

    def peak_memory(self, device: str) -> int | None:
        if not device.startswith("cuda"):
            return None
        return int(device_of(device).memory_stats()["peak_bytes_in_use"])

    def out_of_memory(self, error: Exception) -> bool:
        exhausted = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
        return exhausted or isinstance(error, MemoryError)

    def fast_bf16(self, spec: ModelSpec) -> bool:
        if not spec.device.startswith("cuda"):  # XLA's convolutions on a CPU compute bfloat16 in float32
            return False
        return float(device_of(spec.device).compute_capability) >= 8

    def describe(self, native: Any, head: str, image_size: int | None) -> Description:
        return describe(native, head, image_size)

    def wrap(self, native: Any, spec: ModelSpec) -> WrappedModel:
        return WrappedModel(self, spec, native)

    def stepper(self, model: BaseModel, update: UpdateSpec) -> JaxStepper:
        assert isinstance(model, JaxModel)
        return JaxStepper(model, update)

    def unsynchronised(self, model: BaseModel, layers: Collection[str]) -> Collection[str]:
        assert isinstance(model, JaxModel)
        return unsynchronised(model.tensors(), layers)

    def moving_average(self, model: BaseModel, decay: float) -> JaxAverage:
        assert isinstance(model, JaxModel)
        return JaxAverage(model, decay)

    def distributed_context(self, device: str) -> DistributedContext:
        return SINGLE_PROCESS if launch_environment().size == 1 else joined()

    def resolve_device(self, device: str) -> str:
        launch = launch_environment()
        self.distributed_context(device)  # before JAX's first device
        if launch.size > 1 and gpus() and device in ("auto", "cuda", "gpu"):
            device = f"cuda:{launch.local_rank}"
        return super().resolve_device(device)

    def gan(
        self, weights: Mapping[str, np.ndarray], classifier: tuple[np.ndarray, np.ndarray], spec: GanSpec
    ) -> JaxGan:
        return JaxGan(weights, classifier, spec)
