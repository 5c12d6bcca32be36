"""The TensorFlow backend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from xfer_keras.quiet import quiet_start
from xfer_keras_nets.engine import check_engine, engine

with engine("tensorflow"), quiet_start():
    import keras
    import tensorflow as tf

    tf.config.list_physical_devices("GPU")

from xfer.errors import DeviceError
from xfer.features.gan import GanSpec
from xfer.models.backend import Backend
from xfer.models.base_model import BaseModel
from xfer.models.spec import Description, ModelSpec
from xfer.runtime.devices import cpu_has_bf16
from xfer.runtime.distributed import SINGLE_PROCESS, DistributedContext, launch_environment
from xfer.runtime.shared_mode import SharedMode
from xfer.specs.exported import ExportJob
from xfer.specs.update import UpdateSpec
from xfer_keras import export
from xfer_keras.average import KerasAverage
from xfer_keras.distributed import joined
from xfer_keras.gan import KerasGan
from xfer_keras.model import KerasModel
from xfer_keras.stepper import KerasStepper
from xfer_keras.wrapped import WrappedModel
from xfer_keras_nets.families import FAMILIES
from xfer_keras_nets.layers import unsynchronised
from xfer_keras_nets.wrapped import describe

# TensorFlow's grouped convolutions gain nothing from bfloat16 on a CPU that has it, by `benchmarks/inference.py`.
GROUPED = (
    *("efficientnet", "tf_efficientnet", "mnasnet", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3"),
    *("mobilenet_v4", "regnet", "shufflenet_v2"),
)


class KerasBackend(Backend):
    """Keras 3 on TensorFlow."""

    name = "tensorflow"
    families = FAMILIES
    formats = export.WRITERS

    def __init__(self) -> None:
        check_engine("tensorflow")
        for gpu in tf.config.list_physical_devices("GPU"):
            try:
                tf.config.experimental.set_memory_growth(gpu, True)
            except RuntimeError:  # the user's own code has begun to use the GPU; its setting stands
                break

    def versions(self) -> dict[str, str]:
        return {"tensorflow": tf.__version__, "keras": keras.__version__}

    def devices(self) -> Sequence[str]:
        return [*(f"cuda:{i}" for i, _ in enumerate(tf.config.list_physical_devices("GPU"))), "cpu"]

    def build_network(self, spec: ModelSpec) -> KerasModel:
        self.distributed_context(spec.device)  # before the first tensor
        return KerasModel(self, spec)

    @contextmanager
    def deterministically(self, spec: ModelSpec) -> Iterator[None]:
        exact = _exact_float32(True) if spec.device.startswith("cuda") else nullcontext()
        with exact, self._deterministic_ops(spec):
            yield

    @contextmanager
    def _deterministic_ops(self, spec: ModelSpec) -> Iterator[None]:
        if not spec.deterministic or spec.device == "cpu":  # TensorFlow's kernels for the CPU are
            yield
            return
        tf.config.experimental.enable_op_determinism()  # for the rest of the process: there is no way back
        try:
            yield
        except tf.errors.UnimplementedError as error:
            if "eterminis" not in str(error):
                raise
            raise DeviceError(
                f"{error.message.splitlines()[0]} ({spec.device}): freeze the block that needs it, or give "
                "deterministic=False or device='cpu'"
            ) from None

    def peak_memory(self, device: str) -> int | None:
        if not device.startswith("cuda"):
            return None
        return int(tf.config.experimental.get_memory_info(device.replace("cuda", "GPU"))["peak"])

    def out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, tf.errors.ResourceExhaustedError | MemoryError)

    def fast_bf16(self, spec: ModelSpec) -> bool:
        if spec.device.startswith("cuda"):
            gpu = tf.config.list_physical_devices("GPU")[int(spec.device.partition(":")[2] or 0)]
            return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) >= (8, 0)
        return cpu_has_bf16() and spec.card.family not in GROUPED

    def export(self, model: BaseModel, job: ExportJob) -> None:
        assert isinstance(model, KerasModel)
        export.write(model, job)

    def describe(self, native: Any, head: str, image_size: int | None) -> Description:
        return describe(native, head, image_size)

    def wrap(self, native: Any, spec: ModelSpec) -> WrappedModel:
        self.distributed_context(spec.device)
        return WrappedModel(self, spec, native)

    def stepper(self, model: BaseModel, update: UpdateSpec) -> KerasStepper:
        assert isinstance(model, KerasModel)
        return KerasStepper(model, update)

    def unsynchronised(self, model: BaseModel, layers: Collection[str]) -> Collection[str]:
        assert isinstance(model, KerasModel)
        return unsynchronised(model.tensors(), layers)

    def moving_average(self, model: BaseModel, decay: float) -> KerasAverage:
        assert isinstance(model, KerasModel)
        return KerasAverage(model, decay)

    def distributed_context(self, device: str) -> DistributedContext:
        return SINGLE_PROCESS if launch_environment().size == 1 else joined()

    def resolve_device(self, device: str) -> str:
        launch = launch_environment()
        if launch.size > 1 and self.devices() != ["cpu"] and device in ("auto", "cuda", "gpu"):
            device = f"cuda:{launch.local_rank}"
        return super().resolve_device(device)

    def gan(
        self, weights: Mapping[str, np.ndarray], classifier: tuple[np.ndarray, np.ndarray], spec: GanSpec
    ) -> KerasGan:
        return KerasGan(weights, classifier, spec)


def _switch_tf32_off() -> Callable[[], None]:
    """float32 with all 23 bits of the mantissa, where a GPU's kernels keep 10 by default; returns what restores it."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    return lambda: tf.config.experimental.enable_tensor_float_32_execution(before)


_exact_float32 = SharedMode(_switch_tf32_off)
