"""What a traced step exchanges with those of the other processes.

Each collective of TensorFlow has a number, the instance key, and the tensors of a number have one shape for ever. So
each place of a traced step has numbers of its own, on which all processes agree before they trace it, and what changes
its shape is filled up to one of few.

No collective has a timeout: TensorFlow starts a thread for each that has, which sleeps until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import tensorflow as tf

SIZES = 31  # how many numbers a tensor has whose rows are filled up to a power of two
_BUCKET = 24 << 20  # bytes of gradients that are summed together: several sums at a time are faster than one
HOST, _DEVICES = 1, 2  # keys of the groups: of the CPUs, to gather on the host, and of the devices of the models


class Keys:
    """Numbers of collectives, given out once. Those below `SIZES` are of the host."""

    next = SIZES

    @classmethod
    def take(cls, number: int = 1) -> int:
        """The first of so many."""
        first, cls.next = cls.next, cls.next + number
        return first


class Collectives(NamedTuple):
    """Collectives of the processes of a run, traced into a step: tensors of a device in, tensors out.

    Args:
        rank: of this process.
        size: how many there are.
        device: of this process's model.
    """

    rank: int
    size: int
    device: str

    def rows(self, own: Any, shards: Any) -> Any:
        """The rows (N, K) of all processes in the order of ranks; the gradient is that of the own ones.

        Args:
            own: at least as many rows as this process has in `shards`; what is more is left out.
            shards: how many rows each process has, int32 (P,).
        """
        exponent = tf.reduce_sum(tf.cast(2 ** tf.range(SIZES - 1) < tf.reduce_max(shards), tf.int32))
        number, size, key = shards[self.rank], 2**exponent, Keys.take(SIZES) + exponent

        @tf.custom_gradient
        def gathered(own: Any) -> tuple[Any, Any]:
            surplus = tf.shape(own)[0] - number
            padded = tf.pad(own[:number], [[0, size - number], [0, 0]])
            every = gather(padded, key, self.size, _DEVICES, self._order())
            start = tf.reduce_sum(shards[: self.rank])

            def back(at_rows: Any) -> Any:
                return tf.pad(at_rows[start : start + number], [[0, surplus], [0, 0]])

            return tf.boolean_mask(every, tf.reshape(tf.sequence_mask(shards, size), [-1])), back

        return gathered(own)

    def every(self, own: Any) -> Any:
        """A tensor (...) of each process, by rank: (P, ...); see `Shares.gather`."""

        @tf.custom_gradient
        def gathered(own: Any) -> tuple[Any, Any]:
            found = gather(own[None], Keys.take(), self.size, _DEVICES, self._order())
            return found, lambda at_found: self._sum(at_found)[self.rank]

        return gathered(own)

    def sums(self, tensors: Sequence[Any]) -> list[Any]:
        """Each tensor summed over the processes; None stays."""
        cut = [None if tensor is None else _cut(tensor) for tensor in tensors]
        buckets = _buckets([piece for pieces in cut if pieces for piece in pieces])
        summed = iter([piece for bucket in buckets for piece in self._sum_of_bucket(bucket)])
        return [
            None if pieces is None else tf.reshape(tf.concat([next(summed) for _ in pieces], 0), tensor.shape)
            for tensor, pieces in zip(tensors, cut, strict=True)
        ]

    def _sum_of_bucket(self, bucket: Sequence[Any]) -> list[Any]:
        sizes = [each.shape.num_elements() for each in bucket]
        return list(tf.split(self._sum(tf.concat(bucket, 0)), sizes))

    def _sum(self, tensor: Any) -> Any:
        return tf.raw_ops.CollectiveReduceV2(
            input=tensor,
            group_size=self.size,
            group_key=_DEVICES,
            instance_key=Keys.take(),
            ordering_token=self._order(),
            merge_op="Add",
            final_op="Id",
        )

    def _order(self) -> list[Any]:
        """What keeps collectives in one order, as NCCL needs it; on a CPU several at a time are faster."""
        return [_token(self.device).handle] if "GPU" in self.device else []


def gather(tensor: Any, key: Any, size: Any, group: int, order: Sequence[Any] = ()) -> Any:
    """Tensors (N, ...) of all processes of a group behind each other: (P * N, ...)."""
    return tf.raw_ops.CollectiveGatherV2(
        input=tensor, group_size=size, group_key=group, instance_key=key, ordering_token=list(order)
    )


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


@cache
def _token(device: str) -> tf.Variable:
    with tf.init_scope(), tf.device(device):
        return tf.Variable(0.0, trainable=False)
