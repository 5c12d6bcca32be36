"""A run in several processes that a launcher such as torchrun started."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from xfer.errors import DistributedError, UsageError
from xfer.runtime import agreement

T = TypeVar("T")


class Launch(NamedTuple):
    """This process among those of a run, as the launcher's environment has it.

    Args:
        rank: of this process, from 0.
        size: how many there are.
        local_rank: the rank among those of this machine.
        addresses: host:port of each process by rank, of a cluster that is known beforehand; empty otherwise.
    """

    rank: int
    size: int
    local_rank: int
    addresses: tuple[str, ...] = ()


def launch_environment() -> Launch:
    """What `RANK`, `WORLD_SIZE` and `LOCAL_RANK` say, or else `TF_CONFIG`; one process where nothing does.

    Raises:
        UsageError: no numbers, or a `TF_CONFIG` that describes no run of equal processes.
    """
    config = os.environ.get("TF_CONFIG")
    if config and "WORLD_SIZE" not in os.environ:
        return _of_tf_config(config)
    rank, size, local_rank = (_number(name, default) for name, default in _VARIABLES)
    return Launch(rank, size, local_rank)


_VARIABLES = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
_JOBS = ("chief", "worker")  # those that train, in the order of ranks


def _number(name: str, default: int) -> int:
    given = os.environ.get(name) or str(default)
    if not given.isdecimal():
        raise UsageError(f"{name}={given!r}: expected the number that a launcher such as torchrun sets")
    return int(given)


def _of_tf_config(text: str) -> Launch:
    """TensorFlow's description of a cluster: {"cluster": {"worker": ["host:port", ...]}, "task": {"type", "index"}}."""
    try:
        document = json.loads(text)
        cluster, task = document.get("cluster") or {}, document.get("task") or {"type": "worker", "index": 0}
        before = {"chief": 0, "worker": len(cluster.get("chief", []))}
        addresses = tuple(str(address) for job in _JOBS for address in cluster.get(job, []))
        rank = before[task["type"]] + int(task["index"])
    except (ValueError, TypeError, KeyError, AttributeError):
        rank, addresses = -1, ()
    if not 0 <= rank < max(len(addresses), 1):
        raise UsageError(
            f"TF_CONFIG is {text[:200]!r}: expected a cluster with workers, of which this process is one, as "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        )
    return Launch(rank, max(len(addresses), 1), int(os.environ.get("LOCAL_RANK") or 0), addresses)


@dataclass(frozen=True)
class DistributedContext:
    """The processes of a run; as it stands, one process alone. A backend that has more overrides `exchange`.

    Args:
        rank: of this process, from 0. The first alone writes and shows progress.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def gather(self, thing: T, what: str) -> list[T]:
        """What each process gives, by rank. All must call it, and each waits for all.

        Args:
            thing: small and on the host.
            what: the occasion, in words; the same everywhere, or the processes have parted ways.

        Raises:
            DistributedError: a process has ended, or is somewhere else in the program.
            Interrupted: a signal has come to any of them, where that may be raised; see `SharedWatch`.
        """
        told = self.exchange((what, thing, agreement.notes()))
        for rank, (occasion, *_) in enumerate(told):
            if occasion != what:
                raise DistributedError(
                    f"the processes of this run have parted: process {self.rank} is at {what!r}, process {rank} at "
                    f"{occasion!r}; call fit, evaluate and save in all of them"
                )
        if self.size > 1:
            agreement.agree([notes for *_, notes in told])
        return [theirs for _, theirs, _ in told]

    def exchange(self, thing: T) -> list[T]:
        """What each process gives, by rank, whatever the occasion.

        Args:
            thing: small and on the host; pickled, so that it comes only from processes of the run.

        Raises:
            DistributedError: a process has ended.
        """
        return [thing]

    def on_main_process(self, write: Callable[[], object], what: str) -> None:
        """Have the first process write, and go on in all when it is done."""
        if self.rank == 0:
            write()
        self.gather(None, what)

    def share(self, number: int) -> slice:
        """This process's part of so many things in order; parts differ by one at most, and may be empty."""
        return slice(number * self.rank // self.size, number * (self.rank + 1) // self.size)


SINGLE_PROCESS = DistributedContext()
