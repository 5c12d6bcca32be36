"""The processes of a run, joined by TensorFlow's collectives.

Keras 3 does not train under TensorFlow's strategy for several workers. Here the strategy only configures the
collectives of this process, and the model lies outside of it. Each collective has a number, the instance key, and the
tensors of a number have one shape for ever. So each place of a traced step has numbers of its own, on which all
processes agree before they trace it, and what changes its shape is filled up to one of few.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from xfer.errors import BackendError, DistributedError
from xfer.runtime.distributed import DistributedContext, launch_environment
from xfer.runtime.launcher import ignore_the_launcher, launcher_waits, mind_the_launcher
from xfer.runtime.quiet import held_back
from xfer.runtime.rendezvous import TIMEOUT, addresses, free_port

# A process that has ended is noticed at once, by its closed connections; TIMEOUT is for one that hangs.

_FRAME = 128  # int64 numbers of what is gathered on the host in one go; most is smaller
_SIZES = 31  # how many numbers a tensor has whose rows are filled up to a power of two
_BUCKET = 24 << 20  # bytes of gradients that are summed together: several sums at a time are faster than one
_HOST, _DEVICES = 1, 2  # keys of the groups of CPUs, and of the devices that the models are on
_ENDED = (
    *(tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError),
    *(tf.errors.DeadlineExceededError, tf.errors.FailedPreconditionError),
)

T = TypeVar("T")


class _Keys:
    """Numbers of collectives, given out once."""

    def __init__(self) -> None:
        self.next = _SIZES  # those before are of the host

    def take(self, number: int = 1) -> int:
        """The first of so many."""
        first, self.next = self.next, self.next + number
        return first


_keys = _Keys()


class KerasDistributedContext(DistributedContext):
    """Several processes: gRPC between CPUs, NCCL between GPUs."""

    def exchange(self, thing: T) -> list[T]:
        own = pickle.dumps(thing)
        with others():
            found = self._frames(own, _FRAME)
            if (longest := int(found[:, 0].max())) > _room(_FRAME):
                found = self._frames(own, 1 << longest.bit_length())
        return [pickle.loads(row[1:].view(np.uint8)[: row[0]].tobytes()) for row in found]

    def _frames(self, own: bytes, words: int) -> np.ndarray:
        """int64 (P, words): the length of what each process gives, and as much of it as there is room for."""
        frame = np.zeros(words, np.int64)
        frame[0] = len(own)
        frame[1:].view(np.uint8)[: len(own)] = np.frombuffer(own, np.uint8)[: _room(words)]
        found: np.ndarray = _gather_on_host(frame, words.bit_length(), self.size).numpy().reshape(self.size, words)
        return found

    def agree(self) -> None:
        """Before a step is traced: give its collectives the same numbers in all processes."""
        _keys.next = max(self.gather(_keys.next, "tracing a step"))

    # Traced: tensors of the device in, tensors out.

    def rows(self, own: Any, shards: Any) -> Any:
        """The rows (N, K) of all processes in the order of ranks; the gradient is that of the own ones.

        Args:
            own: at least as many rows as this process has in `shards`; what is more is left out.
            shards: how many rows each process has, int32 (P,).
        """
        exponent = tf.reduce_sum(tf.cast(2 ** tf.range(_SIZES - 1) < tf.reduce_max(shards), tf.int32))
        number, size, key = shards[self.rank], 2**exponent, _keys.take(_SIZES) + exponent

        @tf.custom_gradient
        def gathered(own: Any) -> tuple[Any, Any]:
            surplus = tf.shape(own)[0] - number
            padded = tf.pad(own[:number], [[0, size - number], [0, 0]])
            every = _gathered(padded, key, self.size)
            start = tf.reduce_sum(shards[: self.rank])

            def back(at_rows: Any) -> Any:
                return tf.pad(at_rows[start : start + number], [[0, surplus], [0, 0]])

            return tf.boolean_mask(every, tf.reshape(tf.sequence_mask(shards, size), [-1])), back

        return gathered(own)

    def every(self, own: Any) -> Any:
        """A tensor (...) of each process, by rank: (P, ...); see `Shares.gather`."""

        @tf.custom_gradient
        def gathered(own: Any) -> tuple[Any, Any]:
            found = _gathered(own[None], _keys.take(), self.size)
            return found, lambda at_found: self._summed(at_found)[self.rank]

        return gathered(own)

    def sums(self, tensors: Sequence[Any]) -> list[Any]:
        """Each tensor summed over the processes; None stays."""
        cut = [None if tensor is None else _cut(tensor) for tensor in tensors]
        buckets = _buckets([piece for pieces in cut if pieces for piece in pieces])
        summed = iter([piece for bucket in buckets for piece in self._bucket_summed(bucket)])
        return [
            None if pieces is None else tf.reshape(tf.concat([next(summed) for _ in pieces], 0), tensor.shape)
            for tensor, pieces in zip(tensors, cut, strict=True)
        ]

    def _bucket_summed(self, bucket: Sequence[Any]) -> list[Any]:
        sizes = [each.shape.num_elements() for each in bucket]
        return list(tf.split(self._summed(tf.concat(bucket, 0)), sizes))

    def _summed(self, tensor: Any) -> Any:
        group, token = _group(tensor)
        return tf.raw_ops.CollectiveReduceV2(
            input=tensor,
            group_size=self.size,
            group_key=group,
            instance_key=_keys.take(),
            ordering_token=token,
            merge_op="Add",
            final_op="Id",
            timeout_seconds=TIMEOUT,
        )


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
        with launcher_waits():
            yield
    except _ENDED as error:
        if "ollective" not in error.message:
            raise
        ignore_the_launcher()
        raise DistributedError(f"another process of this run has ended ({_sentence(error)})") from None


def _sentence(error: Any) -> str:
    """The first of an error's text, without the place in a graph."""
    return str(error.message).rpartition("Collective ops is aborted by: ")[2].splitlines()[0].partition(". ")[0]


def _room(words: int) -> int:
    """Bytes in a frame beside the length."""
    return 8 * (words - 1)


def _cut(tensor: Any) -> list[Any]:
    """A tensor, flat, in pieces of the size of a bucket at most."""
    flat, length = tf.reshape(tensor, [-1]), _BUCKET // tensor.dtype.size
    return [flat[i : i + length] for i in range(0, tensor.shape.num_elements(), length)]


def _buckets(pieces: Sequence[Any]) -> list[list[Any]]:
    """The pieces in order, as many of one type together as fit into a bucket."""
    found, filled = list[list[Any]](), 0
    for piece in pieces:
        size = piece.shape.num_elements() * piece.dtype.size
        if not found or found[-1][0].dtype != piece.dtype or filled + size > _BUCKET:
            found.append([])
            filled = 0
        found[-1].append(piece)
        filled += size
    return found


@tf.function(
    input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32)],
    autograph=False,
)
def _gather_on_host(frame: Any, key: Any, size: Any) -> Any:
    with tf.device("CPU:0"):
        return _gathered(frame, key, size)


def _gathered(tensor: Any, key: Any, size: Any) -> Any:
    """Tensors (N, ...) of all processes behind each other: (P * N, ...)."""
    group, token = _group(tensor)
    return tf.raw_ops.CollectiveGatherV2(
        input=tensor,
        group_size=size,
        group_key=group,
        instance_key=key,
        ordering_token=token,
        timeout_seconds=TIMEOUT,
    )


def _group(tensor: Any) -> tuple[int, list[Any]]:
    """The key of the group of devices that a tensor is on, and what holds the order of NCCL's collectives."""
    if "GPU" not in tensor.device:
        return _HOST, []
    with tf.init_scope():
        return _DEVICES, [_ordering_token(tensor.device).handle]


@cache
def _ordering_token(device: str) -> tf.Variable:
    with tf.device(device):
        return tf.Variable(0.0, trainable=False)
