"""What batch normalisation must know of a batch that several processes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from keras import ops
from keras.layers import BatchNormalization

from xfer.errors import UsageError


class Shares(NamedTuple):
    """The parts of a batch in a pass of training.

    Args:
        rows: how many samples each process has, integers (P,). Of the tensors of this process the first so many rows
            count; what is behind them only fills up a shape.
        rank: of this process.
        gather: what all processes have of a tensor (...), by rank: (P, ...). Its gradient is that of this process's
            tensor, summed over what all processes have made of it.
    """

    rows: Any
    rank: int
    gather: Callable[[Any], Any]


_shares: ContextVar[Shares | None] = ContextVar("shares", default=None)


@contextmanager
def shared(shares: Shares | None) -> Iterator[None]:
    """Have the passes in it be of parts of a batch; None for a whole one."""
    token = _shares.set(shares)
    try:
        yield
    finally:
        _shares.reset(token)


def moments(x: Any) -> tuple[Any, Any, Any]:
    """Mean (C,) and biased variance (C,) of (N, ..., C) over the batch, and of how many values: of all processes.

    Each process gives its own mean and its sum of squared deviations from that, because a variance as the mean of the
    squares less the square of the mean would lose its digits in float32 (Chan et al. 1983, "Algorithms for computing
    the sample variance", eq. 2.1).
    """
    axes = list(range(len(x.shape) - 1))
    shares = _shares.get()
    if shares is None:
        return *ops.moments(x, axes), ops.cast(ops.prod(ops.shape(x)[:-1]), x.dtype)
    places = ops.cast(ops.prod(ops.shape(x)[1:-1]), x.dtype) if len(axes) > 1 else 1
    counts = ops.cast(shares.rows, x.dtype) * places
    mine = ops.arange(ops.shape(x)[0], dtype=shares.rows.dtype) < shares.rows[shares.rank]
    mean = _sum(x, mine) / ops.maximum(counts[shares.rank], 1)
    means, squares = ops.unstack(shares.gather(ops.stack([mean, _sum(ops.square(x - mean), mine)])), 2, axis=1)
    count, counts = ops.sum(counts), counts[:, None]
    mean = ops.sum(counts * means, axis=0) / count
    return mean, ops.sum(squares + counts * ops.square(means - mean), axis=0) / count, count


def synchronise(layer: BatchNormalization) -> None:
    """Have a layer of Keras's own class take the moments of a shared batch."""
    alone = layer._moments

    def of_all(x: Any, mask: Any) -> tuple[Any, Any]:
        if _shares.get() is None:
            return alone(x, mask)
        if mask is not None:
            raise UsageError(f"{layer.name} is given a mask: train it in one process, or freeze it")
        return moments(x)[:2]

    layer._moments = of_all


def _sum(x: Any, rows: Any) -> Any:
    """(N, ..., C) to (C,), of the rows that count, bool (N,)."""
    of_rows = ops.sum(x, list(range(1, len(x.shape) - 1))) if len(x.shape) > 2 else x
    return ops.sum(ops.where(rows[:, None], of_rows, 0), axis=0)
