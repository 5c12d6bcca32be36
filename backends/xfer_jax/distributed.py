"""The processes of a run, joined by jax.distributed."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax
from jax._src import xla_bridge
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xfer.errors import BackendError, DistributedError
from xfer.runtime.distributed import DistributedContext, Launch, launch_environment
from xfer.runtime.launcher import ignore_the_launcher, launcher_waits, mind_the_launcher
from xfer.runtime.quiet import held_back
from xfer.runtime.rendezvous import addresses, free_port
from xfer_jax.modes import device_of, gpus, modes

PROCESSES = "processes"  # the axis of a mesh of one device of each
_BLOCK = 1024  # bytes that are gathered in one go; most of what is gathered is smaller
_LENGTH = 8  # bytes of the number before it
_SHARED, _OWN = PartitionSpec(), PartitionSpec(PROCESSES)

T = TypeVar("T")


class JaxDistributedContext(DistributedContext):
    """Several processes: gloo between CPUs, NCCL between GPUs."""

    def exchange(self, thing: T) -> list[T]:
        own = pickle.dumps(thing)
        own = len(own).to_bytes(_LENGTH, "big") + own
        with others():
            found = _gathered(own[:_BLOCK], _BLOCK)
            longest = max(int.from_bytes(each[:_LENGTH], "big") for each in found) + _LENGTH
            if longest > _BLOCK:
                found = _gathered(own, 1 << (longest - 1).bit_length())
        return [pickle.loads(each[_LENGTH:]) for each in found]


class Together:
    """A function that all processes run on their shares of a batch, compiled for all of them.

    Args:
        function: of one tree, and of arrays (N, ...); traced. The axis `PROCESSES` is that of the processes.
        jit: what compiles it.
        device: canonical name of the device of this process.
    """

    def __init__(self, function: Any, jit: Any, device: str) -> None:
        self._mesh, self._device = _mesh_with(device), device_of(device)
        # Unchecked: that the results are the same in all processes is not to be seen from what a Keras layer does.
        self._function = jit(
            lambda alike, own: jax.shard_map(
                function, mesh=self._mesh, in_specs=(_SHARED, _OWN), out_specs=_SHARED, check_vma=False
            )(alike, own)
        )

    def __call__(self, alike: Any, own: Any) -> Any:
        """The results, which are the same in all processes.

        Args:
            alike: a tree of arrays that are the same in all.
            own: a tree of arrays (N, ...), the same N in all.
        """
        with others():
            found = self._function(self._placed(alike, _SHARED), self._placed(own, _OWN))
            found = jax.tree.map(lambda array: array.addressable_data(0), found)
            return jax.block_until_ready(found)

    def _placed(self, tree: Any, spec: PartitionSpec) -> Any:
        """Arrays of this process as its parts of those of all."""
        sharding = NamedSharding(self._mesh, spec)

        def placed(array: Any) -> Any:
            here = array if isinstance(array, jax.Array) else jax.device_put(array, self._device)
            shape = here.shape if spec == _SHARED else (len(here) * self._mesh.size, *here.shape[1:])
            return jax.make_array_from_single_device_arrays(shape, sharding, [here])

        return jax.tree.map(placed, tree)


# Traced, with the axis of the processes: tensors of this process in, tensors of all out.


def rows_of_all(own: Any) -> Any:
    """The rows (N, K) of all processes in the order of ranks; the gradient is that of the own ones."""
    every = lax.all_gather(lax.stop_gradient(own), PROCESSES)
    return lax.dynamic_update_index_in_dim(every, own, lax.axis_index(PROCESSES), 0).reshape(-1, *own.shape[1:])


def summed(tensors: Any) -> Any:
    """A tree of tensors, summed over the processes in one go."""
    flat, restored = ravel_pytree(tensors)
    return restored(lax.psum(flat, PROCESSES))


@cache
def joined() -> DistributedContext:
    """The processes that the launcher started, from its environment; those that the user has joined, if any.

    Raises:
        BackendError: JAX has begun to compute. DistributedError: they do not find each other.
    """
    if not jax.distributed.is_initialized():
        _connect(launch_environment())
    mind_the_launcher()
    return JaxDistributedContext(jax.process_index(), jax.process_count())


@contextmanager
def others() -> Iterator[None]:
    """Say in one line that another process has ended, where JAX says how its connection broke."""
    try:
        with launcher_waits():
            yield
    except (ValueError, RuntimeError) as error:
        if not re.search("gloo|nccl", str(error), re.IGNORECASE):
            raise
        ignore_the_launcher()
        raise DistributedError(f"another process of this run has ended ({_sentence(error)})") from None


def _connect(launch: Launch) -> None:
    if xla_bridge.backends_are_initialized():
        raise BackendError(
            "JAX has begun to compute before the processes of this run were joined: call "
            "xfer.models.backend.get_backend('jax').distributed_context('cpu') first"
        )
    coordinator, *_ = addresses(launch, free_port())  # a process that JAX waits for in vain it ends without a word
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    with others(), held_back(1, 2):  # what gloo writes
        try:
            jax.distributed.initialize(coordinator, launch.size, launch.rank, cluster_detection_method="deactivate")
        except RuntimeError as error:
            raise DistributedError(f"the processes of this run do not find each other: {_sentence(error)}") from None
        _gathered(b"", _BLOCK)
        if not gpus():
            # The service through which they are joined ends a process without a word, too, when another has died. gloo
            # notices that by itself, and needs the service no more; NCCL does.
            jax.distributed.shutdown()


@cache
def _mesh_with(device: str) -> Mesh:
    """One device of each process, by rank, this process's being the one of that name. All must call it."""
    kind, _, index = device.partition(":")
    return _mesh(kind, tuple(joined().exchange(int(index or 0))))


@cache
def _mesh(kind: str, indices: tuple[int, ...]) -> Mesh:
    """The device of each process that is at an index among its devices of a kind."""
    every = jax.devices("gpu" if kind == "cuda" else kind)
    by_rank = [[device for device in every if device.process_index == rank] for rank in range(len(indices))]
    return Mesh(np.array([own[index] for own, index in zip(by_rank, indices, strict=True)]), (PROCESSES,))


def _gathered(own: bytes, size: int) -> list[bytes]:
    """So many bytes of each process, by rank."""
    block = np.zeros((1, size), np.uint8)
    block[0, : len(own)] = np.frombuffer(own, np.uint8)
    with modes("cpu", False):
        mesh = _mesh("cpu", (0,) * jax.process_count())
        whole = jax.make_array_from_process_local_data(NamedSharding(mesh, _OWN), block)
        found = jax.jit(_itself, out_shardings=NamedSharding(mesh, _SHARED))(whole)
        return [row.tobytes() for row in np.asarray(found.addressable_data(0))]


def _itself(x: Any) -> Any:
    return x


def _sentence(error: Exception) -> str:
    """The first of an error's text, without its code and the place in the sources."""
    first = str(error).strip().splitlines()[0].partition(". ")[0]
    return re.sub(r"\[\S+:\d+\] |^[A-Z_]+: ", "", first)
