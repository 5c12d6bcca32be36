"""What a backend is, and how one is found.

A backend is registered under the entry-point group `xfer.backends` and imported only when it is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.errors import BackendError, UnknownNameError
from xfer.models.spec import ModelSpec
from xfer.runtime import devices
from xfer.runtime.distributed import SINGLE_PROCESS, DistributedContext, launch_environment
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec

if TYPE_CHECKING:
    from xfer.features.gan import Gan, GanSpec
    from xfer.models.base_model import BaseModel
    from xfer.models.spec import Description
    from xfer.models.stepper import Stepper


GROUP = "xfer.backends"

ALIASES = {"keras": "tensorflow", "tf": "tensorflow", "pytorch": "torch"}


class Backend(ABC):
    """A framework behind xfer's contracts: it builds models and steppers, and says what it has."""

    name: str

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of the framework's packages by distribution name."""

    @abstractmethod
    def devices(self) -> Sequence[str]:
        """Canonical names of the devices at hand, accelerators first, always with `cpu`."""

    @abstractmethod
    def architectures(self) -> Sequence[str]:
        """Names of the cards that this backend can build."""

    @abstractmethod
    def build(self, spec: ModelSpec) -> BaseModel:
        """A model with undefined weights, everything trainable."""

    @abstractmethod
    def stepper(
        self, model: BaseModel, optimizer: OptimizerSpec, loss: LossSpec, clip_norm: float | None = None
    ) -> Stepper:
        """What trains `model` by one update at a time; see `Stepper`."""

    def deterministically(self, spec: ModelSpec) -> AbstractContextManager[object]:
        """The context of every pass of a network; with `spec.deterministic` the same pass gives the same bits in it.

        A backend whose passes always do keeps this one.

        Raises:
            DeviceError: in it, where an operation of the pass has no deterministic algorithm on the device.
        """
        return nullcontext()

    def peak_memory(self, device: str) -> int | None:
        """The most bytes that this process has had on an accelerator; None on the CPU, whose memory is the host's."""
        return None

    def out_of_memory(self, error: Exception) -> bool:
        """Whether an error of the framework says that the device, or the host, has no memory left."""
        return isinstance(error, MemoryError)

    def fast_bf16(self, spec: ModelSpec) -> bool:
        """Whether this network is faster in bfloat16 than in float32 on its device; precision "auto" asks."""
        return False

    def describe(self, native: Any, head: str) -> Description:
        """What `xfer.wrap` needs to know of a native network; a backend that wraps none keeps this.

        Raises:
            UsageError: not a network of this framework, or no linear layer in what `head` names.
        """
        raise BackendError(f"backend {self.name!r} wraps no networks")

    def wrap(self, native: Any, spec: ModelSpec) -> BaseModel:
        """A model around a native network that `describe` has described, with its weights."""
        raise BackendError(f"backend {self.name!r} wraps no networks")

    def gan(self, weights: Mapping[str, np.ndarray], classifier: tuple[np.ndarray, np.ndarray], spec: GanSpec) -> Gan:
        """Generator and critic with these weights, on the CPU; a backend that has none keeps this."""
        raise BackendError(f"backend {self.name!r} trains no GAN: give backend='torch' or 'tensorflow'")

    def distributed_context(self, device: str) -> DistributedContext:
        """The processes of this run, joined if need be; a backend that trains in one process keeps this.

        Args:
            device: canonical name of that on which this process computes.

        Raises:
            BackendError: the launcher started several. DistributedError: they cannot be joined.
        """
        if (size := launch_environment().size) > 1:
            raise BackendError(
                f"backend {self.name!r} works in one process, and a launcher started {size} (WORLD_SIZE): give "
                "backend='torch', which trains in several under torchrun, or start one process"
            )
        return SINGLE_PROCESS

    def resolve_device(self, device: str) -> str:
        """The canonical name of the device asked for, or an error that lists what is there."""
        return devices.resolve(device, self.devices())


def registered() -> dict[str, EntryPoint]:
    """Entry points of all registered backends by name, none of them imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def get_backend(backend: str | Backend) -> Backend:
    """The backend of that name (`torch`, `tensorflow`, an alias, a third party's, `module:Class`), or `backend` itself.

    Raises:
        UnknownNameError: no backend of that name is registered.
        BackendError: it is registered, but its framework is not installed or does not import.
    """
    if isinstance(backend, Backend):
        return backend
    points = registered()
    name = ALIASES.get(backend, backend)
    if ":" in name:
        points = {name: EntryPoint(name, name, GROUP)}
    if name not in points:
        raise UnknownNameError("backend", backend, [*points, *ALIASES])
    try:
        made = points[name].load()()
    except ModuleNotFoundError as missing:
        raise BackendError(f"backend {name!r} needs {missing.name}: {install_hint(name, str(missing.name))}") from None
    except ImportError as broken:
        raise BackendError(f"backend {name!r} is installed but does not import: {broken}") from broken
    assert isinstance(made, Backend), f"entry point {name!r} of group {GROUP!r} is not an xfer.Backend"
    return made


def install_hint(name: str, missing: str) -> str:
    """The command that installs what backend `name` needs: the extra of its distribution, or the missing module."""
    point = registered().get(name)
    return f'pip install "{point.dist.name}[{name}]"' if point and point.dist else f"pip install {missing}"


def backends() -> tuple[str, ...]:
    """Names of the registered backends, installed frameworks or not."""
    return tuple(sorted(registered()))
