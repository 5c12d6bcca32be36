"""The PyTorch backend."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from xfer.errors import BackendError, DeviceError
from xfer.models.backend import Backend
from xfer.models.spec import ModelSpec
from xfer.runtime.devices import cpu_has_bf16

if "tensorflow" in sys.modules and "torch" not in sys.modules:
    # The second LLVM in one process ends it, and only in this order (pytorch#93884).
    raise BackendError(
        "backend 'torch' would crash this process, because TensorFlow is loaded: import torch before it, "
        "or use another process"
    )

import numpy as np
import torch
import torchvision

from xfer.features.gan import GanSpec
from xfer.models.base_model import BaseModel
from xfer.models.spec import Description
from xfer.runtime.distributed import SINGLE_PROCESS, DistributedContext, launch_environment
from xfer.runtime.shared_mode import SharedMode
from xfer.specs.exported import ExportJob
from xfer.specs.update import UpdateSpec
from xfer_torch import export, linear
from xfer_torch.average import TorchAverage
from xfer_torch.distributed import joined
from xfer_torch.gan import TorchGan
from xfer_torch.model import TorchModel
from xfer_torch.nets.families import FAMILIES
from xfer_torch.norm import unsynchronised
from xfer_torch.stepper import TorchStepper
from xfer_torch.wrapped import WrappedModel, describe


class TorchBackend(Backend):
    """PyTorch and torchvision."""

    name = "torch"
    families = FAMILIES
    formats = export.WRITERS

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__, "torchvision": torchvision.__version__}

    def devices(self) -> Sequence[str]:
        found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        found += ["mps"] if torch.backends.mps.is_available() else []
        return [*found, "cpu"]

    def build_network(self, spec: ModelSpec) -> TorchModel:
        if spec.precision == "fp64" and spec.device == "mps":
            raise BackendError("device 'mps' has no float64: use device='cpu' for precision 'fp64'")
        return TorchModel(self, spec)

    @contextmanager
    def deterministically(self, spec: ModelSpec) -> Iterator[None]:
        with (
            _deterministic_algorithms(spec.deterministic),
            _exact_float32(True) if spec.device.startswith("cuda") else nullcontext(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(spec.device.partition(":")[0], enabled=False),
        ):
            torch.clear_autocast_cache()  # an outer context keeps casts of weights that have changed since
            try:
                yield
            except RuntimeError as error:
                if "does not have a deterministic implementation" not in str(error):
                    raise
                raise DeviceError(
                    f"{str(error).partition(', but')[0]} on {spec.device}: freeze the block that needs it, or give "
                    "deterministic=False or device='cpu'"
                ) from None

    def peak_memory(self, device: str) -> int | None:
        return torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else None

    def out_of_memory(self, error: Exception) -> bool:
        words = ("can't allocate memory", "not enough memory")  # of the CPU, which has no error of its own
        return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
            isinstance(error, RuntimeError) and any(word in str(error) for word in words)
        )

    def fast_bf16(self, spec: ModelSpec) -> bool:
        if spec.device.startswith("cuda"):
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return spec.device == "cpu" and cpu_has_bf16()

    def frozen_kernels(self, spec: ModelSpec) -> str:
        return linear.NAME if linear.AVAILABLE and (spec.device, spec.precision) == ("cpu", "fp32") else ""

    def export(self, model: BaseModel, job: ExportJob) -> None:
        assert isinstance(model, TorchModel)
        export.write(model, job)

    def describe(self, native: Any, head: str, image_size: int | None) -> Description:
        return describe(native, head, image_size)

    def wrap(self, native: Any, spec: ModelSpec) -> WrappedModel:
        return WrappedModel(self, spec, native)

    def stepper(self, model: BaseModel, update: UpdateSpec) -> TorchStepper:
        assert isinstance(model, TorchModel)
        return TorchStepper(model, update)

    def unsynchronised(self, model: BaseModel, layers: Collection[str]) -> Collection[str]:
        return unsynchronised(model.native, layers)

    def moving_average(self, model: BaseModel, decay: float) -> TorchAverage:
        assert isinstance(model, TorchModel)
        return TorchAverage(model, decay)

    def distributed_context(self, device: str) -> DistributedContext:
        if launch_environment().size == 1:
            return SINGLE_PROCESS
        if device == "mps":
            raise BackendError("device 'mps' trains in one process: give device='cpu', or start one process")
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        return joined()

    def resolve_device(self, device: str) -> str:
        if launch_environment().size > 1 and torch.cuda.is_available() and device in ("auto", "cuda", "gpu"):
            here, there = int(os.environ.get("LOCAL_WORLD_SIZE") or 1), torch.cuda.device_count()
            if here > there:
                raise DeviceError(
                    f"{here} processes on this machine need a GPU each, and it has {there}: start {there}, or give "
                    "device='cpu'"
                )
            device = f"cuda:{launch_environment().local_rank}"
        return super().resolve_device(device)

    def gan(
        self, weights: Mapping[str, np.ndarray], classifier: tuple[np.ndarray, np.ndarray], spec: GanSpec
    ) -> TorchGan:
        return TorchGan(weights, classifier, spec)


def _switch_on() -> Callable[[], None]:
    """Deterministic algorithms in the whole process; returns what restores the user's settings."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first call
    cudnn, memory = torch.backends.cudnn, torch.utils.deterministic
    before = torch.get_deterministic_debug_mode(), memory.fill_uninitialized_memory
    cudnn_before = cudnn.deterministic, cudnn.benchmark
    # As torch.use_deterministic_algorithms, which imports the compiler besides. Nothing here reads memory that was not
    # written, so none is filled.
    torch.set_deterministic_debug_mode("error")
    memory.fill_uninitialized_memory = False
    cudnn.deterministic, cudnn.benchmark = True, False

    def restore() -> None:
        torch.set_deterministic_debug_mode(before[0])
        memory.fill_uninitialized_memory = before[1]
        cudnn.deterministic, cudnn.benchmark = cudnn_before

    return restore


def _switch_tf32_off() -> Callable[[], None]:
    """float32 with all 23 bits of the mantissa, where cuDNN's convolutions keep 10 by default; returns what restores.

    A user may have set either of torch's two interfaces, and reading the old one fails after the new one was used.
    """
    cudnn, cublas = torch.backends.cudnn, torch.backends.cuda.matmul
    name, exact = "allow_tf32", False
    try:
        before = cudnn.allow_tf32, cublas.allow_tf32
    except RuntimeError:
        (cudnn, cublas), name, exact = (cudnn.conv, cublas), "fp32_precision", "ieee"
        before = cudnn.fp32_precision, cublas.fp32_precision
    for place in (cudnn, cublas):
        setattr(place, name, exact)

    def restore() -> None:
        for place, value in zip((cudnn, cublas), before, strict=True):
            setattr(place, name, value)

    return restore


_deterministic_algorithms = SharedMode(_switch_on)
_exact_float32 = SharedMode(_switch_tf32_off)
