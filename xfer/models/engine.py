"""What a network needs of its framework at run time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from xfer.errors import BackendError
from xfer.models.spec import ModelSpec
from xfer.runtime import devices
from xfer.runtime.distributed import SINGLE_PROCESS, DistributedContext, launch_environment


class Engine(ABC):
    """A framework: its versions, its devices, its memory, its processes. `Backend` adds what builds models."""

    name: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of the framework's packages by distribution name."""

    @abstractmethod
    def devices(self) -> Sequence[str]:
        """Canonical names of the available devices, accelerators first, always with `cpu`."""

    def deterministically(self, spec: ModelSpec) -> AbstractContextManager[object]:
        """The context of every pass of a network, in which modes that the user has entered do not count.

        With `spec.deterministic` the same pass is bitwise the same in it.

        A backend whose passes always are keeps this one.

        Raises:
            DeviceError: in it, where an operation of the pass has no deterministic algorithm on the device.
        """
        return nullcontext()

    def peak_memory(self, device: str) -> int | None:
        """The peak of the memory of an accelerator that this process has used, in bytes; None on the CPU."""
        return None

    def out_of_memory(self, error: Exception) -> bool:
        """Whether an error of the framework says that the device, or the host, is out of memory."""
        return isinstance(error, MemoryError)

    def fast_bf16(self, spec: ModelSpec) -> bool:
        """Whether this network is faster in bfloat16 than in float32 on its device; precision "auto" asks."""
        return False

    def frozen_kernels(self, spec: ModelSpec) -> str:
        """The name of kernels that frozen passes run in place of the framework's layers, which round otherwise.

        It is part of the cache namespace. A backend that has none keeps this.
        """
        return ""

    def distributed_context(self, device: str) -> DistributedContext:
        """The processes of this run, joined if need be; a backend that trains in one process keeps this.

        Args:
            device: canonical name of the device of this process.

        Raises:
            BackendError: the launcher started several. DistributedError: they cannot be joined.
        """
        if (size := launch_environment().size) > 1:
            raise BackendError(
                f"backend {self.name!r} works in one process, and a launcher started {size} (WORLD_SIZE): give "
                "a backend that trains in several, such as 'torch', or start one process"
            )
        return SINGLE_PROCESS

    def resolve_device(self, device: str) -> str:
        """The canonical name of the device asked for, or an error that lists what is available."""
        return devices.resolve(device, self.devices())
