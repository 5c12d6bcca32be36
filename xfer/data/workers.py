"""Threads that read samples ahead, and return them in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from xfer.errors import UsageError
from xfer.runtime.devices import cpu_cores

Sample = tuple[int, np.ndarray | None]
_MOST = 8


def in_order(
    read: Callable[[int, int], np.ndarray | None], keys: Iterable[np.ndarray], workers: int, ahead: int
) -> Generator[Sample, None, None]:
    """Samples with their indices in the order of `keys`.

    Args:
        read: reads a sample, by index and by how often it came before; None where it cannot be read.
        keys: the arguments of `read`, int64 (n, 2) each, in which all but one are no Python objects yet.
        workers: threads; 0 reads in the caller's.
        ahead: how many samples are read ahead.
    """
    each = ((index, nth) for some in keys for index, nth in some.tolist())
    if not workers:
        yield from ((index, read(index, nth)) for index, nth in each)
        return
    pending: deque[tuple[int, Future[np.ndarray | None]]] = deque()
    with ThreadPoolExecutor(workers, "xfer-loader") as pool:
        try:
            for index, nth in each:
                pending.append((index, pool.submit(read, index, nth)))
                if len(pending) > ahead:
                    yield _first(pending)
            while pending:
                yield _first(pending)
        finally:
            # Leaving the pool waits for what runs; what only waits must not run any more.
            for _, future in pending:
                future.cancel()


def threads(workers: int | None) -> int:
    """How many threads `workers` asks for: None is one for each core of this process's part of them, at most 8.

    Raises:
        UsageError: fewer than 0.
    """
    if workers is not None and workers < 0:
        raise UsageError(f"workers={workers}: give a number of threads, 0 or more, or None")
    if workers is not None:
        return workers
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)  # processes of the run on this machine, as launchers say
    return max(1, min(cpu_cores() // here, _MOST))


def _first(pending: deque[tuple[int, Future[np.ndarray | None]]]) -> Sample:
    index, future = pending.popleft()
    return index, future.result()
