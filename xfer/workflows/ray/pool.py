"""Processes of a Ray cluster that each hold a worker, such as one with a model, and do tasks of one list.

These are actors, and not `map_batches` of Ray Data: a task is made, with the images that it names, when a process is
free for it, so that nothing but the tasks under way is in the object store; and every CPU may hold a worker, where Ray
Data (2.60) waits for ever unless one is left for reading its input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from xfer.errors import XferError
from xfer.runtime.progress import say

RESTARTS = 3
_WAIT = 1.0  # seconds, after which Python looks for signals


class Pool:
    """Actors with a worker each, in the cluster that this process is connected to.

    An actor that is lost, alone or with its machine, is replaced, and its task is given to another one.

    Args:
        make: makes the worker in an actor.
        processes: how many actors; fewer work while the cluster has no room for all.
        resources: options of an actor, see `xfer.workflows.ray.cluster.share`.
        restarts: how often a task, or the start of a worker, is tried again after its process was lost.
    """

    def __init__(
        self, make: Callable[[], Any], processes: int, resources: dict[str, float], restarts: int = RESTARTS
    ) -> None:
        import ray

        self._make, self._restarts, self._processes = make, restarts, processes
        self._kind = ray.remote(**resources)(_Actor)
        self._starting: dict[Any, tuple[Any, bool]] = {}  # by its call, the actor, and whether it is a new one
        self._free: deque[Any] = deque()
        self._failed = 0
        for _ in range(processes):
            self._start()

    def map(self, method: str, tasks: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """The results of a method of the workers, as they come, each with the number of its task.

        Args:
            method: its name.
            tasks: the arguments of each call; the next is taken when a worker is free for it.

        Raises:
            XferError: what a worker has raised, or a task whose process was lost again and again.
        """
        waiting, again = enumerate(tasks), deque[_Task]()
        busy: dict[Any, tuple[Any, _Task]] = {}
        exhausted = False
        while True:
            while self._free and not (exhausted and not again):
                task = again.popleft() if again else _next(waiting)
                if task is None:
                    exhausted = True
                    break
                actor = self._free.popleft()
                busy[actor.do.remote(method, *task.arguments)] = actor, task
            if exhausted and not busy and not again:
                return
            for reference in self._wait([*busy, *self._starting]):
                if reference not in busy:
                    self._collect_started([reference])
                    continue
                actor, task = busy.pop(reference)
                found = self._result(reference)
                if found is None:
                    self._lose(task)
                    again.append(task)
                    self._start()
                    self._look_after_the_free()
                else:
                    self._free.append(actor)
                    yield task.number, found[0]

    def _start(self) -> None:
        actor = self._kind.remote()
        self._starting[actor.begin.remote(self._make)] = actor, True

    def _look_after_the_free(self) -> None:
        """Give those that wait nothing before they have said that they were not on the machine that was lost."""
        while self._free:
            actor = self._free.popleft()
            self._starting[actor.begin.remote(self._make)] = actor, False

    def _collect_started(self, references: Iterable[Any]) -> None:
        for reference in references:
            actor, new = self._starting.pop(reference)
            found = self._result(reference)
            if found is None:
                self._failed += new
                if self._failed >= self._processes * (self._restarts + 1):  # a machine may be lost that began them all
                    raise XferError(f"workers have ended {self._failed} times while they began: out of memory?")
                self._start()
                continue
            self._failed = 0
            self._free.append(actor)

    def _lose(self, task: _Task) -> None:
        task.lost += 1
        if task.lost > self._restarts:
            raise XferError(f"the process that did part {task.number + 1} has ended {task.lost} times: out of memory?")
        say("a worker or its machine was lost: another one takes over")

    def _wait(self, references: list[Any]) -> list[Any]:
        import ray

        return list(ray.wait(references, num_returns=1, timeout=_WAIT, fetch_local=True)[0])

    def _result(self, reference: Any) -> tuple[Any] | None:
        """What a call gave; None if its process was lost, or what it gave with its machine.

        Raises:
            XferError: what the call has raised.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            return (ray.get(reference),)
        except RayTaskError as error:
            if isinstance(error.cause, XferError):
                raise error.cause from None
            raise XferError(f"a worker failed: {type(error.cause).__name__}: {error.cause}") from None
        except RayError:
            return None


class _Task:
    """A call, and how often the process that did it was lost."""

    def __init__(self, number: int, arguments: tuple[Any, ...]) -> None:
        self.number, self.arguments, self.lost = number, arguments, 0


class _Actor:
    """A process of the pool. Its worker is not made with it, so that what goes wrong then is an error of a call."""

    _worker: Any = None

    def begin(self, make: Callable[[], Any]) -> None:
        """Make the worker, if it is not there."""
        if self._worker is None:
            self._worker = make()

    def do(self, method: str, *arguments: Any) -> Any:
        """Call a method of it."""
        return getattr(self._worker, method)(*arguments)


def _next(waiting: Iterator[tuple[int, tuple[Any, ...]]]) -> _Task | None:
    found = next(waiting, None)
    return None if found is None else _Task(*found)
