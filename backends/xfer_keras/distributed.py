"""The processes of a run, joined by TensorFlow's collectives.

Keras 3 does not train under TensorFlow's strategy for several workers. Here the strategy only configures the
collectives of this process, and the model lies outside of it.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from tensorflow.python.eager.context import context as tensorflow_context

from xfer.errors import BackendError, DistributedError
from xfer.runtime.distributed import DistributedContext, launch_environment
from xfer.runtime.launcher import ignore_the_launcher, launcher_waits, mind_the_launcher
from xfer.runtime.quiet import held_back
from xfer.runtime.rendezvous import TIMEOUT, addresses, free_port
from xfer_keras.collectives import HOST, Collectives, Keys, gather

_FRAME = 128  # int64 numbers of what is gathered on the host in one go; most is smaller
_ENDED = (
    *(tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError),
    *(tf.errors.DeadlineExceededError, tf.errors.FailedPreconditionError),
)

T = TypeVar("T")


class KerasDistributedContext(DistributedContext):
    """Several processes: gRPC between CPUs, NCCL between GPUs."""

    def exchange(self, thing: T) -> list[T]:
        own = pickle.dumps(thing)
        with others():
            found = self._frames(own, _FRAME)
            if (longest := int(found[:, 0].max())) > _room(_FRAME):
                found = self._frames(own, 1 << longest.bit_length())
        return [pickle.loads(row[1:].view(np.uint8)[: row[0]].tobytes()) for row in found]

    def collectives(self, device: str) -> Collectives:
        """What a step exchanges that is traced next: the numbers are the same in all processes.

        Args:
            device: of the model, in TensorFlow's words.
        """
        Keys.next = max(self.gather(Keys.next, "tracing a step"))
        return Collectives(self.rank, self.size, device)

    def _frames(self, own: bytes, words: int) -> np.ndarray:
        """int64 (P, words): the length of what each process gives, and as much of it as there is room for."""
        frame = np.zeros(words, np.int64)
        frame[0] = len(own)
        frame[1:].view(np.uint8)[: len(own)] = np.frombuffer(own, np.uint8)[: _room(words)]
        found: np.ndarray = _gather_on_host(frame, words.bit_length(), self.size).numpy().reshape(self.size, words)
        return found


@cache
def joined() -> DistributedContext:
    """The processes that the launcher started, from its environment.

    Raises:
        BackendError: TensorFlow has begun to compute. DistributedError: they do not find each other.
    """
    launch = launch_environment()
    cluster = addresses(launch, free_port())
    try:
        with held_back():  # what it logs of GPUs that are not there
            tf.distribute.MultiWorkerMirroredStrategy(
                tf.distribute.cluster_resolver.SimpleClusterResolver(
                    tf.train.ClusterSpec({"worker": cluster}), task_type="worker", task_id=launch.rank, rpc_layer="grpc"
                )
            )
    except RuntimeError as error:
        if "startup" not in str(error):
            raise
        raise BackendError(
            "TensorFlow has begun to compute before the processes of this run were joined: call "
            "xfer.models.backend.get_backend('tensorflow').distributed_context('cpu') first"
        ) from None
    except tf.errors.OpError as error:
        raise DistributedError(f"the processes of this run do not find each other: {_sentence(error)}") from None
    mind_the_launcher()
    return KerasDistributedContext(launch.rank, launch.size)


@contextmanager
def others() -> Iterator[None]:
    """Say in one line that another process has ended, where TensorFlow says how its connection broke."""
    try:
        with launcher_waits(), _limited():
            yield
    except _ENDED as error:
        if "ollective" not in error.message:
            raise
        ignore_the_launcher()
        raise DistributedError(f"another process of this run has ended ({_sentence(error)})") from None


@contextmanager
def _limited() -> Iterator[None]:
    """End what waits for a process that hangs. One that has ended is noticed at once, by its closed connections."""
    timer = threading.Timer(TIMEOUT, _abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _abort() -> None:
    tensorflow_context().abort_collective_ops(tf.errors.DEADLINE_EXCEEDED, f"no answer for {TIMEOUT:.0f} seconds")


def _sentence(error: Any) -> str:
    """The first of an error's text, without the place in a graph."""
    return str(error.message).rpartition("Collective ops is aborted by: ")[2].splitlines()[0].partition(". ")[0]


def _room(words: int) -> int:
    """Bytes in a frame beside the length."""
    return 8 * (words - 1)


@tf.function(
    input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32)],
    autograph=False,
)
def _gather_on_host(frame: Any, key: Any, size: Any) -> Any:
    with tf.device("CPU:0"):
        return gather(frame, key, size, HOST)
